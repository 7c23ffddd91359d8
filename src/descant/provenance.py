"""What a file says of how it was made, and the request that makes it again."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.generation.engine import Made
from descant.generation.request import Guidance, Request, Sampling

KEPT_OF_SOURCES = ("text", "seed", "model", "model_fingerprint", "made_from")
"""What is told of music that other music was made from."""

MOST_RECORD_BYTES = 2**24
"""An hour of a prompt's codes in stereo takes seven million."""
MOST_SOURCE_BYTES = 2**18
"""What is carried on of music that other music is made from: texts of a chain of pieces, never codes."""
MOST_NAME = 1_000
MOST_NESTED = 32
NAMES = ("model", "model_fingerprint", "device", "precision", "descant")


def info_of(made: Made, asked: Request) -> dict[str, Any]:
    """Everything of a request that is needed to make it again, as plain data, and what it was made from.

    Args:
        asked: as it came, with the clips that it came with.
    """
    request = made.request
    assert request.sampling is not None
    assert request.guidance is not None
    prompt = made.codes[:, : made.num_prompt_frames]
    return {
        "text": request.text,
        "timeline": [list(section) for section in request.timeline],
        "negative_text": request.negative_text,
        "duration_s": request.duration_s,
        "stride_s": request.stride_s,
        "loop_bars": request.loop_bars,
        "beats_per_bar": request.beats_per_bar,
        "unknown_words": list(made.unknown_words),
        "seed": request.seed,
        "sampling": asdict(request.sampling),
        "guidance": asdict(request.guidance),
        "prompt_codes": prompt.tolist() if made.num_prompt_frames else None,
        "prompt_samples": None if request.prompt is None else request.prompt.samples.shape[1],
        "style_codes": None if request.style_codes is None else request.style_codes.tolist(),
        "melody_chroma": None if request.melody_chroma is None else _as_text(request.melody_chroma),
        "made_from": _sources(asked),
    }


def request_from_info(info: dict[str, Any]) -> Request:
    """The request behind a generated clip, from the ``info`` that its file carries.

    A continued prompt or a style comes back as its codes, a melody as its chroma: all that the model saw of them.

    Raises:
        InvalidRequest: the info is not one that ``generate`` wrote, or holds anything that could not be written again.
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
            sampling=Sampling(**info["sampling"]),
            guidance=Guidance(**{**info["guidance"], "schedule": _pairs(info["guidance"].get("schedule", []))}),
        )
        codes, style, melody = info["prompt_codes"], info.get("style_codes"), info.get("melody_chroma")
        if info["seed"] is None:
            raise KeyError("seed")
        prompt_codes = None if codes is None else torch.tensor(codes)
        style_codes = None if style is None else torch.tensor(style)
        melody_chroma = None if melody is None else _from_text(melody)
    # torch tells what it cannot make a tensor of in three ways: ragged rows, no numbers, numbers too large.
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(f"the file says nothing of how it was made, or not all of it ({error!r:.80})") from error
    return replace(request, prompt_codes=prompt_codes, melody_chroma=melody_chroma, style_codes=style_codes)


def check_record(info: dict[str, Any]) -> None:
    """Makes sure of all that a file says of its music, before any of it is used: music takes long to make, and what
    is wrong with a record would else be found when it is written again.

    Raises:
        InvalidRequest: it is too long, or holds what JSON has no word for, or a value of a kind that it never has.
    """
    if not isinstance(info, dict):
        raise InvalidRequest(f"the file says nothing of how it was made, or not all of it ({info!r:.80})")
    size = _size_of(info, "the file's record")
    if size > MOST_RECORD_BYTES:
        raise InvalidRequest(f"the file's record is {size} bytes long; at most {MOST_RECORD_BYTES} are read")
    for name in NAMES:
        value = info.get(name, "")
        if not isinstance(value, str) or len(value) > MOST_NAME:
            raise InvalidRequest(f"the file says its {name} is {value!r:.60}; a text of up to {MOST_NAME} letters is")
    scores = info.get("scores", [])
    if not isinstance(scores, list) or not all(type(score) in (int, float) for score in scores):
        raise InvalidRequest(f"the file says its scores are {scores!r:.60}; a list of numbers is allowed")
    if type(info.get("best_of", 1)) is not int:
        raise InvalidRequest(f"the file says it is the best of {info['best_of']!r:.60}; a whole number is allowed")
    sources = info.get("made_from", {})
    if not isinstance(sources, dict) or _size_of(sources, "made_from") > MOST_SOURCE_BYTES:
        raise InvalidRequest(f"the file's made_from is no record of up to {MOST_SOURCE_BYTES} bytes")


def check_sources(request: Request) -> None:
    """Makes sure of what is carried on of the music that a request is made from, before anything is made.

    Raises:
        InvalidRequest: it is too long, or holds what JSON has no word for.
    """
    for name, told in _sources(request).items():
        size = _size_of(told, f"{name}: its info")
        if size > MOST_SOURCE_BYTES:
            raise InvalidRequest(
                f"{name}: its info is {size} bytes long, of which at most {MOST_SOURCE_BYTES} are carried on; "
                "give it without: Clip(clip.samples, clip.sample_rate_hz), or a file without tags"
            )


def _size_of(told: Any, name: str) -> int:
    """How long something is as JSON.

    Raises:
        InvalidRequest: it is no JSON, or nested too deeply.
    """
    waiting = [(told, 0)]
    while waiting:
        value, depth = waiting.pop()
        is_odd = isinstance(value, float) and not math.isfinite(value)
        if is_odd or depth > MOST_NESTED:
            found = repr(value) if is_odd else f"more than {MOST_NESTED} things in each other"
            raise InvalidRequest(f"{name} holds {found}: finite numbers, texts and lists of them are allowed")
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        waiting += [(item, depth + 1) for item in items]
    try:
        return len(json.dumps(told))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name} has no JSON form: {error}") from error


def prompt_of(info: dict[str, Any], clip: Clip) -> Clip | None:
    """The beginning of a generated clip that was given and not made; None where there is none.

    Raises:
        InvalidRequest: the info says that it is longer than the clip, or nothing that can be.
    """
    length = info.get("prompt_samples")
    if length is None:
        return None
    if isinstance(length, bool) or not isinstance(length, int) or not 0 < length < clip.samples.shape[1]:
        raise InvalidRequest(f"the file says that {length!r:.20} of its samples were given, which cannot be")
    return Clip(clip.samples[:, :length], clip.sample_rate_hz)


def _sources(asked: Request) -> dict[str, Any]:
    """By field: what is known of the music that a request was made from, and of what that was made from."""
    clips = {name: getattr(asked, name) for name in ("melody", "style", "prompt")}
    return {
        name: {kept: clip.info[kept] for kept in KEPT_OF_SOURCES if kept in clip.info}
        for name, clip in clips.items()
        if clip is not None
    }


def _pairs(points: Sequence[Sequence[Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple((first, second) for first, second in points)


def _as_text(levels: Int[Tensor, "T P"]) -> str:
    """A melody's levels as hexadecimal bytes, a word for each frame."""
    return " ".join(bytes(frame).hex() for frame in levels.tolist())


def _from_text(text: str) -> Int[Tensor, "T P"]:
    return torch.tensor([list(bytes.fromhex(frame)) for frame in text.split(" ")])
