"""The tempo and the key of a request: what it states, and what the model's prior chooses where it states none."""

from descant.conditioning.base import readable_text
from descant.conditioning.chords import parse_chords
from descant.errors import InvalidRequest
from descant.generation.request import Request
from descant.model import MusicGenModel
from descant.tempo_key import OPEN, TempoKey

SOURCES = ("prompt", "prompt_codes", "melody", "melody_chroma", "style", "style_codes")
"""Fields that imply a tempo and a key, which a choice might contradict."""


def resolve_tempo_key(request: Request, seed: int, model: MusicGenModel) -> TempoKey:
    """The tempo and the key that apply wherever a text of the request states none.

    They are those of the beginning: what the request states, or else what the model's prior chooses for its text. A
    request without a text stays unconditional: nothing is chosen for it. Given chords imply a key, so none is chosen
    then, and the tempo is chosen so that they change on beats, if there is such a tempo.

    Raises:
        InvalidRequest: ``tempo`` or ``key`` is given, and the model does not have them as conditions.
    """
    check_tempo_key(request, model)
    if model.tempo_key is None:
        return TempoKey()
    stated = request.stated
    drawn = TempoKey()
    if model.prior is not None and is_open(request):
        drawn, _ = model.prior.tempo_key.draw(request.text or "", seed, _chord_changes_s(request))
        if request.given_chords is not None:
            drawn = TempoKey(bpm=drawn.bpm)
    bpm = drawn.bpm if stated.bpm is None else stated.bpm
    key = drawn.key if stated.key is None else stated.key
    tempo_key = TempoKey(bpm=None if request.tempo == "none" else bpm)
    return tempo_key if key is None or request.key == "none" else tempo_key.with_key(key)


def is_open(request: Request) -> bool:
    """Whether there is a text and nothing else that implies a tempo and a key."""
    return readable_text(request.text) is not None and all(getattr(request, name) is None for name in SOURCES)


def _chord_changes_s(request: Request) -> list[float]:
    """The seconds at which given chords change. Later prompts make no difference to them: these may yet be revised."""
    if request.given_chords is None:
        return []
    return [chord.start_s for chord in parse_chords(request.given_chords) if 0 < chord.start_s < request.duration_s]


def check_tempo_key(request: Request, model: MusicGenModel) -> None:
    """Refuses a tempo and a key that are given apart from the text to a model that does not have them as conditions.

    Raises:
        InvalidRequest: one is.
    """
    if model.tempo_key is not None:
        return
    for name, example in (("tempo", "120 bpm"), ("key", "in F# minor")):
        value = getattr(request, name)
        if value not in OPEN:
            raise InvalidRequest(
                f"{name}={value!r}: this model reads a {name} in the text only; write {example!r} there"
            )
