"""What a user asks for, frozen and checked the moment it is made."""

import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.conditioning.stems import Separation
from descant.errors import InvalidRequest
from descant.plain import make_plain, plain
from descant.tempo_key import parse_tempo_key

MAX_TEXT_CHARACTERS = 4_096
MAX_CUT_CHARACTERS = 100_000
"""Of a text whose beginning is read."""
MAX_SEED = 2**32 - 1
"""torch's CPU generator reads 32 bits of a seed: two larger ones that agree in them would make the same music."""
MAX_GUIDANCE = 100.0
MAX_DURATION_S = 3_600.0
MAX_SECTIONS = 1_000
MAX_LOOP_BARS, MAX_BEATS_PER_BAR = 256, 32
WHOLE_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How one code is drawn from the logits; the rules apply in the order of the fields.

    Args:
        temperature: above 0; 1 leaves the model's distribution as it is.
        top_k: only the k likeliest codes are drawn; 0 keeps all.
        top_p: only the likeliest codes that together hold this probability are drawn; 1 keeps all.
        greedy: always the likeliest code; the other fields and the seed then change nothing.
    """

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0
    greedy: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        _check_number("temperature", self.temperature)
        if not 0 < self.temperature <= 1e6:
            raise InvalidRequest(
                f"temperature={self.temperature:g}: must be above 0 and at most 1000000; "
                "for the likeliest code at every step use greedy=True"
            )
        _check_integer("top_k", self.top_k)
        if self.top_k < 0:
            raise InvalidRequest(f"top_k={self.top_k}: must be 1 or more, or 0 to keep every code")
        _check_number("top_p", self.top_p)
        if not 0 < self.top_p <= 1:
            raise InvalidRequest(f"top_p={self.top_p:g}: must be above 0 and at most 1, where 1 keeps every code")
        if not isinstance(self.greedy, bool):
            raise InvalidRequest(f"greedy={self.greedy!r}: must be True or False")


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How hard the music is pushed towards its conditions (classifier-free guidance, arXiv 2207.12598).

    Args:
        scale: 0 ignores the conditions, 1 is plain sampling, larger follows them more closely at the cost of variety.
        text_scale: the text is pushed so much further than the style beside it, in which it would otherwise drown
            (arXiv 2407.12563, section 4.3); 5 is a good start. None pushes both alike.
        melody_scale: the melody is pushed so much further than the text beside it; 1 pushes both alike. None takes what
            suits the model.
        schedule: points (second, scale), later ones later. From ``scale`` at the beginning it goes in straight lines
            from point to point and stays where the last one is. Empty: ``scale`` throughout.
    """

    scale: float = 3.0
    text_scale: float | None = None
    melody_scale: float | None = None
    schedule: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        make_plain(self)
        _check_scale("guidance", self.scale)
        points = _pairs("schedule of guidance", self.schedule)
        for second, scale in points:
            _check_number("schedule of guidance: second", second)
            _check_scale("schedule of guidance: scale", scale)
        _check_order("schedule of guidance", [0.0, *(second for second, _ in points)])
        object.__setattr__(self, "schedule", points)
        for name in ("text_scale", "melody_scale"):
            if getattr(self, name) is not None:
                _check_scale(f"{name} of guidance", getattr(self, name))


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One piece of music to make.

    Numbers and texts may be NumPy's or tensors without dimensions; kept are Python's own.

    Args:
        text: what it should sound like; None or blank asks for anything.
        timeline: prompts that follow ``text``, as (second, text), later ones later. The first frame that begins at or
            after the second is drawn under the new prompt.
        negative_text: what guidance pushes away from, instead of from "anything".
        long_prompt: what to do with a text longer than the model reads: an ``error``, or ``cut`` it where a word ends.
            The result's ``info`` holds the text that was read.
        prompt: music to continue; it becomes the beginning of the result.
        melody: a tune to follow, for models that were trained with melodies; of a long one the beginning is heard, a
            short one is repeated.
        melody_chroma: the melody as levels [frames, pitches] in every frame, from 0 to 255 and C first,
            instead of ``melody``.
        melody_part: what is heard of ``melody``: its ``stems`` but drums and bass, its ``harmonic`` part, the whole
            ``mix``, or ``auto``, the first of these that is installed. None takes what the model was trained on.
        style: a sound to imitate, for models that were trained with styles; a few seconds from its middle are heard.
        style_codes: the style as codes [K, L] of this model, instead of ``style``.
        prompt_codes: the prompt as codes [K, P] of this model's codec, instead of ``prompt``. With both, the codes are
            what the model reads, and ``prompt`` is what is heard of them.
        duration_s: length of the result, prompt included. What is longer than the model was trained for is made in
            windows that slide over it.
        stride_s: how far a window slides; None takes three fifths of its length. Less remembers more of the past.
        loop_bars: makes a loop of so many bars in the tempo that ``text`` states, instead of ``duration_s``.
        beats_per_bar: of a loop.
        seed: the same seed gives the same music; None draws one, which the result's ``info`` tells.
        sampling, guidance: None takes what suits the model.
    """

    text: str | None = None
    timeline: tuple[tuple[float, str], ...] = ()
    negative_text: str | None = None
    long_prompt: Literal["error", "cut"] = "error"
    melody: Clip | None = None
    melody_chroma: Int[Tensor, "frames pitches"] | None = None
    melody_part: Separation | None = None
    style: Clip | None = None
    style_codes: Int[Tensor, "K L"] | None = None
    prompt: Clip | None = None
    prompt_codes: Int[Tensor, "K P"] | None = None
    duration_s: float = 10.0
    stride_s: float | None = None
    loop_bars: int | None = None
    beats_per_bar: int = 4
    seed: int | None = None
    sampling: Sampling | None = None
    guidance: Guidance | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        if self.long_prompt not in ("error", "cut"):
            raise InvalidRequest(f"long_prompt={self.long_prompt!r:.60}: allowed are error and cut")
        self._check_text("text", self.text)
        self._check_text("negative_text", self.negative_text)
        _check_number("duration_s", self.duration_s)
        if not 0 < self.duration_s <= MAX_DURATION_S:
            raise InvalidRequest(
                f"duration_s={self.duration_s:g}: must be above 0 and at most {MAX_DURATION_S:g} seconds"
            )
        self._check_timeline()
        self._check_loop()
        if self.stride_s is not None:
            _check_number("stride_s", self.stride_s)
            if self.stride_s <= 0:
                raise InvalidRequest(f"stride_s={self.stride_s:g}: must be above 0 seconds")
        if self.seed is not None:
            _check_integer("seed", self.seed)
            if not 0 <= self.seed <= MAX_SEED:
                raise InvalidRequest(f"seed={self.seed}: must lie between 0 and {MAX_SEED}")
        kinds = {"melody": Clip, "style": Clip, "prompt": Clip, "sampling": Sampling, "guidance": Guidance}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                hint = "; Clip.read(...) reads one from a file, Clip(samples, rate) makes one" if kind is Clip else ""
                raise InvalidRequest(f"{name}={value!r:.60}: expected a {kind.__name__} or None{hint}")
        if self.melody_part is not None and self.melody_part not in get_args(Separation):
            allowed = ", ".join(get_args(Separation))
            raise InvalidRequest(f"melody_part={self.melody_part!r:.60}: allowed are {allowed}, or None")
        for name, shape in (("prompt_codes", "[K, T]"), ("melody_chroma", "[T, P]"), ("style_codes", "[K, L]")):
            object.__setattr__(self, name, _codes(name, getattr(self, name), shape))
        for name, settled in (("melody", "melody_chroma"), ("style", "style_codes")):
            if getattr(self, name) is not None and getattr(self, settled) is not None:
                raise InvalidRequest(f"{name} and {settled}: give one of them, they say the same")
        if self.prompt is not None and self.prompt.duration_s >= self.duration_s:
            raise InvalidRequest(
                f"duration_s={self.duration_s:g}: the prompt alone is {self.prompt.duration_s:g} s long; "
                "ask for more than that, or give a shorter prompt"
            )

    def _check_text(self, name: str, text: Any) -> None:
        _check_text(name, text)
        limit = MAX_CUT_CHARACTERS if self.long_prompt == "cut" else MAX_TEXT_CHARACTERS
        if text is not None and len(text) > limit:
            told = "" if self.long_prompt == "cut" else "; long_prompt='cut' reads its beginning"
            raise InvalidRequest(f"{name}: {len(text)} characters; at most {limit} are allowed{told}")

    def _check_timeline(self) -> None:
        sections = _pairs("timeline", self.timeline)
        if len(sections) > MAX_SECTIONS:
            raise InvalidRequest(f"timeline: {len(sections)} prompts; at most {MAX_SECTIONS} are allowed")
        for second, text in sections:
            _check_number("timeline: second", second)
            self._check_text("timeline", text)
        _check_order("timeline", [0.0, *(second for second, _ in sections)])
        if sections and sections[-1][0] >= self.duration_s:
            raise InvalidRequest(
                f"timeline: a prompt at second {sections[-1][0]:g}, and the piece ends at {self.duration_s:g}; "
                "ask for a longer piece, or leave the prompt out"
            )
        object.__setattr__(self, "timeline", sections)

    def _check_loop(self) -> None:
        _check_integer("beats_per_bar", self.beats_per_bar)
        if not 1 <= self.beats_per_bar <= MAX_BEATS_PER_BAR:
            raise InvalidRequest(f"beats_per_bar={self.beats_per_bar}: must lie between 1 and {MAX_BEATS_PER_BAR}")
        if self.loop_bars is None:
            return
        _check_integer("loop_bars", self.loop_bars)
        if not 1 <= self.loop_bars <= MAX_LOOP_BARS:
            raise InvalidRequest(f"loop_bars={self.loop_bars}: must lie between 1 and {MAX_LOOP_BARS}")
        if self.timeline or self.prompt is not None or self.prompt_codes is not None:
            raise InvalidRequest(
                "loop_bars: a loop goes on from nothing and has one text; leave out what it continues and later texts"
            )
        bpm = parse_tempo_key(self.text).bpm
        if bpm is None:
            raise InvalidRequest(
                f'loop_bars={self.loop_bars}: the text states no tempo; add one, for example "120 bpm"'
            )
        loop_s = self.loop_bars * self.beats_per_bar * 60 / bpm
        if loop_s > MAX_DURATION_S:
            raise InvalidRequest(
                f"loop_bars={self.loop_bars}: at {bpm:g} bpm that is {loop_s:g} s; at most {MAX_DURATION_S:g} are made"
            )


def _pairs(name: str, points: Any) -> tuple[tuple[Any, Any], ...]:
    """The points as pairs of plain values, out of whatever gives them in their order: lists, arrays, a ``zip``."""
    try:
        if isinstance(points, str | bytes | Mapping | Set):
            raise TypeError
        pairs = tuple(_pair(point) for point in points)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name}={points!r:.60}: expected pairs, each with its second first") from error
    return pairs


def _pair(point: Any) -> tuple[Any, Any]:
    if isinstance(point, str | bytes | Mapping | Set):
        raise TypeError
    first, second = point
    return plain(first), plain(second)


def _check_order(name: str, seconds: list[float]) -> None:
    for before, after in pairwise(seconds):
        if not before < after:
            raise InvalidRequest(
                f"{name}: seconds must rise, and the first must be above 0; second {after:g} comes after {before:g}"
            )


def _check_text(name: str, text: Any) -> None:
    if text is None:
        return
    if not isinstance(text, str):
        raise InvalidRequest(f"{name}={text!r:.60}: expected one string or None; for several, make several requests")
    if "\0" in text:
        raise InvalidRequest(f"{name}: contains a NUL character; remove it")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InvalidRequest(f"{name}: contains half of a surrogate pair, which is no Unicode text; re-encode it")


def _codes(name: str, codes: Any, shape: str) -> Tensor | None:
    """Codes as a tensor of the request's own: what the caller changes later is not changed here."""
    if isinstance(codes, np.ndarray) and codes.dtype.kind in "iu":
        codes = torch.from_numpy(codes.astype(np.int64))
    if codes is None:
        return None
    if not isinstance(codes, Tensor) or codes.dtype not in WHOLE_NUMBERS or codes.ndim != 2:
        raise InvalidRequest(f"{name}={codes!r:.60}: expected a tensor {shape} of whole numbers, or None")
    if 0 in codes.shape:
        raise InvalidRequest(f"{name} are {tuple(codes.shape)}: give at least one frame, or None")
    return codes.detach().clone()


def _check_scale(name: str, value: float) -> None:
    _check_number(name, value)
    if not 0 <= value <= MAX_GUIDANCE:
        raise InvalidRequest(f"{name}={value:g}: must lie between 0 and {MAX_GUIDANCE:g}")


def _check_number(name: str, value: Any) -> None:
    # Compared, not tested with isfinite(), which overflows for whole numbers that no float can hold.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InvalidRequest(f"{name}={value!r:.60}: expected a finite number")


def _check_integer(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name}={value!r:.60}: expected a whole number")
