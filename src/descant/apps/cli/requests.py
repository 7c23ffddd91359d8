"""From the options of ``generate`` to requests."""

import argparse
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from descant.apps.cli.generate_options import DURATION_S
from descant.apps.cli.outputs import note
from descant.errors import AudioError, InvalidRequest, naming
from descant.seeds import successive_seeds
from descant.tempo_key import OPEN, TempoKey, unused_tempo_key

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.generation.request import Request

NEEDS = {
    "melody_part": ("--melody-part", "melody", "--melody"),
    "melody_guidance": ("--melody-guidance", "melody", "--melody"),
    "text_guidance": ("--text-guidance", "style", "--style"),
    "beats_per_bar": ("--beats-per-bar", "loop", "--loop"),
}
"""Options that say something about another one, by their name in the arguments."""

MAX_SYMBOLS = 8
"""Chords that a line about choices shows."""


def check_conditions(arguments: argparse.Namespace) -> None:
    """Refuses what the model would refuse, before it is loaded."""
    from descant.checkpoints.names import config_of

    for name in ("melody", "style", "chords"):
        if getattr(arguments, name) not in (None, *OPEN) and getattr(config_of(arguments.model), name) is None:
            raise InvalidRequest(f"--{name}: model {arguments.model!r:.200} takes no {name}; leave it out")
    for name in ("tempo", "key"):
        if getattr(arguments, name) not in OPEN and config_of(arguments.model).tempo_key is None:
            raise InvalidRequest(
                f"--{name}: model {arguments.model!r:.200} reads a {name} in PROMPT only; write it there"
            )
    check_combinations(arguments)


def check_combinations(arguments: argparse.Namespace) -> None:
    """Refuses options that have no effect, or contradict each other, with any model."""
    for name, (option, other_name, other) in NEEDS.items():
        if getattr(arguments, name) is not None and getattr(arguments, other_name) is None:
            raise InvalidRequest(f"{option}: it has an effect only with {other}; give both, or neither")
    if arguments.best_of < 1:
        raise InvalidRequest(f"--best-of {arguments.best_of}: at least 1 candidate is needed")
    if arguments.loop is not None and arguments.duration is not None:
        raise InvalidRequest("--loop: a loop is as long as its bars; leave --duration out")


def requests_of(arguments: argparse.Namespace) -> list["Request"]:
    """One request for every file, checked as far as possible without a model."""
    from descant.generation.request import Guidance, Request, Sampling

    Sampling(**_given_sampling(arguments))
    guidance = Guidance(**_given_guidance(arguments))
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    seeds = successive_seeds(seed, arguments.count * arguments.best_of)[:: arguments.best_of]
    duration_s = DURATION_S if arguments.duration is None else arguments.duration
    requests = [
        Request(
            text=text,
            timeline=tuple(arguments.then),
            negative_text=arguments.negative,
            long_prompt=arguments.long_prompt,
            duration_s=duration_s,
            stride_s=arguments.stride,
            loop_bars=arguments.loop,
            beats_per_bar=4 if arguments.beats_per_bar is None else arguments.beats_per_bar,
            melody_part=arguments.melody_part,
            tempo=arguments.tempo,
            key=arguments.key,
            chords=arguments.chords,
            seed=seed,
            guidance=guidance,
        )
        for text in arguments.prompts
        for seed in seeds
    ]
    melody = None if arguments.melody is None else _read_melody(arguments, requests[0])
    style = None if arguments.style is None else _read_style(arguments)
    requests = [replace(request, melody=melody, style=style) for request in requests]
    if arguments.prompt is not None:
        prompt = _read_prompt(arguments.prompt, duration_s, arguments.salvage)
        requests = [replace(request, prompt=prompt) for request in requests]
    return requests


def with_model_defaults(request: "Request", arguments: argparse.Namespace, model: "MusicGen") -> "Request":
    """The request with the model's defaults for guidance and sampling wherever no option was given."""
    guidance = replace(model.default_guidance, **_given_guidance(arguments))
    sampling = replace(model.default_sampling, **_given_sampling(arguments))
    return replace(request, sampling=sampling, guidance=guidance)


def texts_of(request: "Request") -> tuple[str | None, ...]:
    """The prompt of a request and those of its later sections."""
    return (request.text, *(text for _, text in request.timeline))


def note_unused(texts: Iterable[str | None]) -> None:
    """Says what prompts state of tempo and key that a model with such conditions does not use, once for each prompt."""
    for text in dict.fromkeys(texts):
        for line in unused_tempo_key(text):
            note(f"{text!r:.60}: {line}")


def choices_of(request: "Request", bpm: float | None, key: str | None, chords: str | None) -> str:
    """The tempo, the key and the first chords of finished music that its request left open, in words; empty if there
    are none."""
    return choices_in_words(request.stated, request.given_chords, bpm, key, chords)


def choices_in_words(
    stated: TempoKey, given_chords: str | None, bpm: float | None, key: str | None, chords: str | None
) -> str:
    """As ``choices_of``, from what a request states and which chords it gives."""
    choices = []
    if stated.bpm is None and bpm is not None:
        choices.append(f"tempo {bpm:g} BPM (chosen)")
    if stated.key is None and key is not None:
        choices.append(f"key {key} (chosen)")
    if given_chords is None and chords is not None:
        symbols = [word.rpartition(":")[0] for word in chords.split()]
        more = " ..." if len(symbols) > MAX_SYMBOLS else ""
        choices.append(f"chords {' '.join(symbols[:MAX_SYMBOLS])}{more} (chosen)")
    return ", ".join(choices)


def _given_guidance(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {
        "scale": arguments.guidance,
        "text_scale": arguments.text_guidance,
        "melody_scale": arguments.melody_guidance,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return {**given, "schedule": tuple(arguments.guidance_at)}


def _given_sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "greedy", "hold_penalty")}
    return {name: value for name, value in values.items() if value is not None}


def _read_melody(arguments: argparse.Namespace, request: "Request") -> "Clip":
    """The part of a melody file that the music can follow, and one second more; the rest of the file is not read."""
    from descant.checkpoints.names import config_of

    config = config_of(arguments.model).melody
    assert config is not None
    window_s = config.window_samples / config.sample_rate_hz
    needed_s = max(request.result_s, config.num_frames / config.frame_rate_hz) + window_s + 1
    return _read("--melody", arguments.melody, arguments.salvage, duration_s=needed_s)


def _read_style(arguments: argparse.Namespace) -> "Clip":
    """The middle of a style file, as long as the model takes; all of a shorter one."""
    from descant.audio import audio_header
    from descant.checkpoints.names import config_of

    config = config_of(arguments.model).style
    assert config is not None
    with naming("--style"):
        header = audio_header(arguments.style, salvage=arguments.salvage)
    rate_hz = header.sample_rate_hz
    num_samples = round(config.excerpt_s * rate_hz)
    start = max(0, header.num_samples - num_samples) // 2
    return _read("--style", arguments.style, arguments.salvage, start / rate_hz, num_samples / rate_hz)


def _read_prompt(file: str, duration_s: float, salvage: bool) -> "Clip":
    from descant.audio import audio_header

    with naming("--continue"):
        header = audio_header(file, salvage=salvage)
    if header.duration_s >= duration_s:
        raise InvalidRequest(
            f"--duration {duration_s:g}: it includes the music to --continue, and {file!r} alone is "
            f"{header.duration_s:g} s long; ask for more"
        )
    return _read("--continue", file, salvage)


def _read(option: str, file: str, salvage: bool, offset_s: float = 0.0, duration_s: float | None = None) -> "Clip":
    """A clip from the file of an option, with the record of how it was made, if the file has one."""
    from descant.audio import Clip, read_info

    with naming(option):
        clip = Clip.read(file, offset_s=offset_s, duration_s=duration_s, salvage=salvage)
    try:
        return replace(clip, info=read_info(file))
    except AudioError:  # damaged tags: the audio is enough
        return clip
