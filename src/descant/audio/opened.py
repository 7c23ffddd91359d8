"""An audio file that has been opened: length, whole and excerpts, all read by the same decoder."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from descant.audio.decoded import Outcome
from descant.audio.source import ByteFile, Source
from descant.errors import AudioError

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000
MAX_SAMPLES = float(1 << 62)
"""More than any file has; a larger product of seconds and rate may not even be finite."""
SALVAGING = "salvage=True takes them"
"""What a message about a damaged file advises; those whose users cannot follow it say something else."""

Blocks = Iterator[Float32[np.ndarray, "N C"]]

_log = logging.getLogger("descant")


class AudioHeader(NamedTuple):
    """Length, rate and channels of an audio file."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file that is open, and how it is read.

    Args:
        name: what messages call it.
        key: a value that changes with the file's content.
        salvage: of a damaged file everything readable is read, and what is lost is logged.
    """

    file: ByteFile
    name: str
    key: Hashable
    source: Source
    salvage: bool

    def report_losses(self, outcome: Outcome, *, log: bool) -> None:
        """Raises an error if something is lost; when salvaging, logs it instead, if ``log``.

        Raises:
            AudioError: something is lost, and the file is not to be salvaged.
        """
        if not outcome.losses:
            return
        lost = "; ".join(outcome.losses)
        readable_s = outcome.num_samples / outcome.sample_rate_hz
        if not self.salvage:
            raise AudioError(f"{self.name} is damaged: {lost}. {readable_s:.2f} s can be read; {SALVAGING}")
        if log:
            _log.warning("salvaged %.2f s of %s: %s", readable_s, self.name, lost)


class Audio(ABC):
    """The samples of an opened file."""

    @abstractmethod
    def header(self) -> AudioHeader:
        """Length, rate and channels."""

    @abstractmethod
    def blocks(self) -> Blocks:
        """All samples in order. Losses are raised or logged, at the end if they are not known before."""

    @abstractmethod
    def between(self, offset_s: float, duration_s: float | None) -> Blocks:
        """The samples between two times, as many as the file has."""

    @abstractmethod
    def prepare_excerpts(self) -> None:
        """Decodes the whole file, once, if excerpts cannot be read on their own."""

    @abstractmethod
    def excerpt(self, offset: int, count: int) -> Float32[np.ndarray, "N C"]:
        """``count`` samples from sample ``offset`` on; the file must have them."""

    @property
    @abstractmethod
    def sample_rate_hz(self) -> int:
        """Samples per second."""

    @property
    @abstractmethod
    def known_duration_s(self) -> float | None:
        """The length if it is known before decoding, else None."""


def check_rate(rate_hz: int, name: str) -> None:
    """Refuses a rate outside the allowed range.

    Raises:
        AudioError: the rate is not allowed.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{name} has a rate of {rate_hz} Hz; allowed are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")


def sample_range(offset_s: float, duration_s: float | None, rate_hz: int) -> tuple[int, int | None]:
    """The first sample of a range of time, and the first one after it."""
    start = round(min(offset_s * rate_hz, MAX_SAMPLES))
    return start, None if duration_s is None else start + max(1, round(min(duration_s * rate_hz, MAX_SAMPLES)))
