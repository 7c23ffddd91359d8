"""Conditions of a request other than its texts, in the form in which they are stored and the model takes them.

A new condition of a request is a reader here and a line in ``READERS``.
"""

import math
from collections.abc import Callable
from typing import Protocol

from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.conditioning.chords import ChordTrack, parse_chords
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.melody import FULL_LEVEL, extract_melody
from descant.conditioning.stems import Separation, melodic_part
from descant.conditioning.style import StyleConditioner
from descant.errors import InvalidRequest
from descant.generation.request import Request
from descant.model import MusicGenModel

SILENT_PEAK = 1e-4
"""A melody whose samples all stay below this, 80 dB under full scale, counts as silent."""


class ConditionReader(Protocol):
    """Reads one condition of the requests of one call."""

    def read(self, request: Request) -> Tensor | ChordTrack | None:
        """The condition as the model takes it; None for a request without it."""

    def check(self, request: Request) -> bool:
        """Whether the request has the condition; refuses what ``read`` would, if that shows without a network."""


class MelodyReader:
    """Melodies as levels [T, P] of the pitch classes; a clip that several requests share is analysed once."""

    def __init__(self, model: MusicGenModel) -> None:
        self._config = model.config.melody
        self._levels: dict[tuple[Clip, Separation, float], Int[Tensor, "T P"]] = {}

    def read(self, request: Request) -> Int[Tensor, "T P"] | None:
        """The levels on the CPU; None for a request without a melody.

        Raises:
            InvalidRequest: the model takes no melody, or there is no tune in this one.
        """
        if request.melody_chroma is not None:
            return _checked_levels(request.melody_chroma, self._checked_config())
        if request.melody is None:
            return None
        config = self._checked_config()
        duration_s = max(request.result_s, config.num_frames / config.frame_rate_hz)
        key = (request.melody, request.melody_part or config.part, duration_s)
        if key not in self._levels:
            self._levels[key] = _extract(*key, config)
        return self._levels[key]

    def check(self, request: Request) -> bool:
        """Whether there is a melody; one that is silent or too short, or that the model does not take, is refused."""
        if request.melody is None:
            return self.read(request) is not None
        _check_melody(request.melody, self._checked_config(), "mix")
        return True

    def _checked_config(self) -> MelodyConfig:
        if self._config is None:
            raise InvalidRequest("melody: this model takes no melody; leave it out, or use a melody model")
        return self._config


class StyleReader:
    """Styles as codes [K, L] of the style model."""

    def __init__(self, model: MusicGenModel) -> None:
        self._conditioner = model.style

    def read(self, request: Request) -> Int[Tensor, "K L"] | None:
        """The codes on the CPU; None for a request without a style.

        Raises:
            InvalidRequest: the model takes no style, or not this one.
        """
        conditioner = self._checked(request)
        if conditioner is None:
            return None
        if request.style is not None:
            return conditioner.extract(request.style)
        assert request.style_codes is not None
        return _checked_style(request.style_codes, conditioner)

    def check(self, request: Request) -> bool:
        """Whether there is a style; one that the model does not take is refused."""
        conditioner = self._checked(request)
        if conditioner is not None and request.style_codes is not None:
            _checked_style(request.style_codes, conditioner)
        return conditioner is not None

    def _checked(self, request: Request) -> StyleConditioner | None:
        """The conditioner; None for a request without a style."""
        if request.style is None and request.style_codes is None:
            return None
        if self._conditioner is None:
            name = "style_codes" if request.style is None else "style"
            raise InvalidRequest(f"{name}: this model takes no style; leave it out, or use a style model")
        return self._conditioner


class ChordsReader:
    """Chords with the times at which they begin."""

    def __init__(self, model: MusicGenModel) -> None:
        self._takes_chords = model.chords is not None

    def read(self, request: Request) -> ChordTrack | None:
        """The chords that are given; None for a request without any.

        Raises:
            InvalidRequest: the model takes no chords.
        """
        chords = request.given_chords
        if chords is None:
            return None
        if not self._takes_chords:
            raise InvalidRequest("chords: this model takes no chords; leave them out, or use a model trained with them")
        return parse_chords(chords)

    def check(self, request: Request) -> bool:
        """Whether there are chords; a model that takes none refuses them."""
        return self.read(request) is not None


READERS: dict[str, Callable[[MusicGenModel], ConditionReader]] = {
    "melody": MelodyReader,
    "style": StyleReader,
    "chords": ChordsReader,
}
"""By the name of the condition."""


def _extract(melody: Clip, separation: Separation, duration_s: float, config: MelodyConfig) -> Int[Tensor, "T P"]:
    """The melody levels of the first ``duration_s`` seconds of a clip."""
    _check_melody(melody, config, "mix")
    # Shortened before the separation, whose time and memory grow with the length.
    used_s = duration_s + config.window_samples / config.sample_rate_hz
    used = melody.samples[:, : math.ceil(used_s * melody.sample_rate_hz)]
    part, part_name = melodic_part(Clip(used, melody.sample_rate_hz), separation)
    _check_melody(part, config, part_name)
    return extract_melody(part, config, duration_s)


def _check_melody(melody: Clip, config: MelodyConfig, part: str) -> None:
    """Refuses a melody that is too short or silent.

    Args:
        part: the part of the given clip that it is; ``mix`` is all of it.
    """
    shortest_s = config.window_samples / config.sample_rate_hz / 2
    if melody.duration_s < shortest_s:
        raise InvalidRequest(
            f"melody: {melody.duration_s:.3g} s is too short to hear a tune in; give at least {shortest_s:.3g} s"
        )
    if melody.samples.abs().max() < SILENT_PEAK:
        reason = "silent" if part == "mix" else f"its {part} part is silent"
        raise InvalidRequest(f"melody: {reason}, so there is no tune to follow; give an audible melody, or none")


def _checked_levels(levels: Int[Tensor, "T P"], config: MelodyConfig) -> Int[Tensor, "T P"]:
    low, high = int(levels.min()), int(levels.max())
    if levels.shape[1] != config.num_pitches or not 0 <= low <= high <= FULL_LEVEL:
        raise InvalidRequest(
            f"melody_chroma: {levels.shape[1]} pitch classes with levels from {low} to {high}; this model takes "
            f"{config.num_pitches} from 0 to {FULL_LEVEL}: give the melody as audio"
        )
    return levels.long().cpu()


def _checked_style(codes: Int[Tensor, "K L"], conditioner: StyleConditioner) -> Int[Tensor, "K L"]:
    config = conditioner.config
    low, high = int(codes.min()), int(codes.max())
    if len(codes) > config.num_codebooks or not 0 <= low <= high < config.codebook_size:
        raise InvalidRequest(
            f"style_codes: {len(codes)} codebooks with codes from {low} to {high}; this model has "
            f"{config.num_codebooks} with codes from 0 to {config.codebook_size - 1}: give the style as audio"
        )
    return codes.long().cpu()
