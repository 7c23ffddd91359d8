"""The record of how music was generated, which its file carries, and the request that generates it again."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.conditioning.chords import chords_text, chords_until, parse_chords
from descant.errors import InvalidRequest
from descant.generation.checks import MAX_STRENGTH
from descant.generation.request import END_TOLERANCE_S, Guidance, Request, Sampling
from descant.generation.resolve import ResolvedRequest

SOURCE_FIELDS = ("text", "seed", "model", "model_fingerprint", "made_from")
"""The part of a source's own record that is kept, where a source is music that other music was made from."""

MAX_RECORD_BYTES = 2**24
"""An hour of a prompt's codes in stereo takes seven million."""
MAX_SOURCE_BYTES = 2**18
"""For the records of sources: texts of a chain of music, never codes."""
MAX_NAME_CHARACTERS = 1_000
MAX_NESTING = 32
NAMES = ("model", "model_fingerprint", "device", "precision", "descant")


def _as_text(levels: Int[Tensor, "T P"]) -> str:
    """Melody levels as hexadecimal bytes, one word for each frame."""
    return " ".join(bytes(frame).hex() for frame in levels.tolist())


def _from_text(text: str) -> Int[Tensor, "T P"]:
    return torch.tensor([list(bytes.fromhex(frame)) for frame in text.split(" ")])


CONDITIONS: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "style": ("style_codes", Tensor.tolist, torch.tensor),
    "melody": ("melody_chroma", _as_text, _from_text),
    "chords": ("chords", chords_text, str),
}
"""By the name of a condition: its field in the info and in a `Request`, and how it is written to the info and read."""


def info_of(request: ResolvedRequest) -> dict[str, Any]:
    """Everything that is needed to generate the music of a request again, and its sources, as plain data."""
    return {
        "text": request.text,
        "timeline": [list(section) for section in request.timeline],
        "negative_text": request.negative_text,
        "duration_s": request.duration_s,
        "stride_s": request.original.stride_s,
        "loop_bars": request.original.loop_bars,
        "beats_per_bar": request.original.beats_per_bar,
        "unknown_words": list(request.unknown_words),
        "seed": request.seed,
        "tempo": request.tempo_key.bpm,
        "key": request.tempo_key.key_name,
        "sampling": asdict(request.sampling),
        "guidance": asdict(request.guidance),
        "prompt_codes": request.prompt_codes.tolist() if request.num_prompt_frames else None,
        "prompt_samples": request.prompt_wave.shape[1] or None,
        **{field: _written(name, request) for name, (field, _, _) in CONDITIONS.items()},
        "adapters": [
            {"name": adapter.name, "fingerprint": adapter.fingerprint, "strength": strength}
            for adapter, strength in request.original.mixture
        ],
        "made_from": _sources(request.original),
    }


def chords_of(request: ResolvedRequest) -> str | None:
    """The chords that music has, as a request gives them; None if they are open."""
    written: str | None = _written("chords", request)
    return written


def request_from_info(info: dict[str, Any]) -> Request:
    """The request behind a generated clip, from the ``info`` that its file carries.

    The prompt and the style are given as codes and the melody as its chroma, which is all that the model used of them.

    Raises:
        InvalidRequest: ``generate`` did not write this info, or it has a value that could not be written again.
    """
    check_record(info)
    try:
        request = Request(
            text=info["text"],
            timeline=_pairs(info.get("timeline", [])),
            negative_text=info["negative_text"],
            duration_s=info["duration_s"],
            stride_s=info.get("stride_s"),
            loop_bars=info.get("loop_bars"),
            beats_per_bar=info.get("beats_per_bar", 4),
            seed=info["seed"],
            tempo=_or_none(info.get("tempo")),
            key=_or_none(info.get("key")),
            chords="none",
            sampling=Sampling(**info["sampling"]),
            guidance=Guidance(**{**info["guidance"], "schedule": _pairs(info["guidance"].get("schedule", []))}),
        )
        if info["seed"] is None:
            raise KeyError("seed")
        prompt_codes = None if info["prompt_codes"] is None else torch.tensor(info["prompt_codes"])
        conditions: dict[str, Any] = {
            field: read(info[field]) for field, _, read in CONDITIONS.values() if info.get(field) is not None
        }
        if "chords" in conditions:
            # Earlier versions accepted and recorded others, which nobody heard.
            began = chords_until(parse_chords(conditions["chords"]), request.result_s + END_TOLERANCE_S)
            conditions["chords"] = chords_text(began) or "none"
    # torch has three exceptions for values that are not a tensor: ragged rows, other types, and too large numbers.
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(f"the file does not say how it was made, or not completely ({error!r:.80})") from error
    return replace(request, prompt_codes=prompt_codes, **conditions)


def check_record(info: dict[str, Any]) -> None:
    """Checks a file's whole record before any of it is used. Otherwise an invalid value would be found only when the
    record is written again, after the music was generated.

    Raises:
        InvalidRequest: it is too long, is not JSON, or has a value of a wrong type.
    """
    if not isinstance(info, dict):
        raise InvalidRequest(f"the file does not say how it was made, or not completely ({info!r:.80})")
    size = _json_bytes(info, "the file's record")
    if size > MAX_RECORD_BYTES:
        raise InvalidRequest(f"the file's record is {size} bytes long; at most {MAX_RECORD_BYTES} are read")
    for name in NAMES:
        value = info.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_NAME_CHARACTERS:
            raise InvalidRequest(
                f"the file's {name} is {value!r:.60}; allowed is a string of up to {MAX_NAME_CHARACTERS} characters"
            )
    scores = info.get("scores", [])
    if not isinstance(scores, list) or not all(score is None or type(score) in (int, float) for score in scores):
        raise InvalidRequest(f"the file's scores are {scores!r:.60}; allowed is a list of numbers and null")
    dropped = info.get("dropped", [])
    if not isinstance(dropped, list) or not all(map(_is_dropped_record, dropped)):
        raise InvalidRequest(f"the file's dropped candidates are {dropped!r:.60}; allowed are seeds and reasons")
    if type(info.get("best_of", 1)) is not int:
        raise InvalidRequest(f"the file's best_of is {info['best_of']!r:.60}; allowed is a whole number")
    adapters = info.get("adapters", [])
    if not isinstance(adapters, list) or not all(map(_is_adapter_record, adapters)):
        raise InvalidRequest(f"the file's adapters are {adapters!r:.60}; allowed are names, fingerprints and strengths")
    sources = info.get("made_from", {})
    if not isinstance(sources, dict) or _json_bytes(sources, "made_from") > MAX_SOURCE_BYTES:
        raise InvalidRequest(f"the file's made_from is not a record of up to {MAX_SOURCE_BYTES} bytes")


def _is_dropped_record(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("seed")) is int
        and isinstance(entry.get("reason"), str)
        and len(entry["reason"]) <= MAX_NAME_CHARACTERS
    )


def _is_adapter_record(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and len(entry["name"]) <= MAX_NAME_CHARACTERS
        and isinstance(entry.get("fingerprint"), str | None)
        and type(entry.get("strength")) in (int, float)
        and abs(entry["strength"]) <= MAX_STRENGTH
    )


def check_sources(request: Request) -> None:
    """Checks the records of the music that a request is made from, before anything is generated.

    Raises:
        InvalidRequest: one is too long or not JSON.
    """
    for name, record in _sources(request).items():
        size = _json_bytes(record, f"{name}: its info")
        if size > MAX_SOURCE_BYTES:
            raise InvalidRequest(
                f"{name}: its info is {size} bytes long, of which at most {MAX_SOURCE_BYTES} are kept; "
                "give it without: Clip(clip.samples, clip.sample_rate_hz), or a file without tags"
            )


def _json_bytes(record: Any, name: str) -> int:
    """The length of a record as JSON.

    Raises:
        InvalidRequest: it is not JSON, or nested too deeply.
    """
    waiting = [(record, 0)]
    while waiting:
        value, depth = waiting.pop()
        is_infinite = isinstance(value, float) and not math.isfinite(value)
        if is_infinite or depth > MAX_NESTING:
            found = repr(value) if is_infinite else f"more than {MAX_NESTING} levels of nesting"
            raise InvalidRequest(f"{name} holds {found}: finite numbers, texts and lists of them are allowed")
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        waiting += [(item, depth + 1) for item in items]
    try:
        return len(json.dumps(record))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name} has no JSON form: {error}") from error


def prompt_of(info: dict[str, Any], clip: Clip) -> Clip | None:
    """The prompt at the beginning of a generated clip; None if it has none.

    Raises:
        InvalidRequest: the length in the info is not a number of samples that the clip can begin with.
    """
    length = info.get("prompt_samples")
    if length is None:
        return None
    if isinstance(length, bool) or not isinstance(length, int) or not 0 < length < clip.samples.shape[1]:
        raise InvalidRequest(f"the file says that {length!r:.20} of its samples were given, which is impossible")
    return Clip(clip.samples[:, :length], clip.sample_rate_hz)


def _sources(request: Request) -> dict[str, Any]:
    """By field, the kept part of the record of the clip that is given there."""
    clips = {name: getattr(request, name) for name in ("melody", "style", "prompt")}
    return {
        name: {field: clip.info[field] for field in SOURCE_FIELDS if field in clip.info}
        for name, clip in clips.items()
        if clip is not None
    }


def _or_none(recorded: Any) -> Any:
    """What a request says for a recorded tempo or key: where none is recorded, none is to be chosen."""
    return "none" if recorded is None else recorded


def _written(name: str, request: ResolvedRequest) -> Any:
    _, write, _ = CONDITIONS[name]
    return write(request.conditions[name]) if name in request.conditions else None


def _pairs(points: Sequence[Sequence[Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple((first, second) for first, second in points)
