"""An audio file that has been opened: its length, the whole of it and pieces, all by one decision how it is read."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from descant.audio import ffmpeg, sndfile
from descant.audio.decoded import DecodedFiles, Outcome, Remembered
from descant.audio.source import FFMPEG, ByteFile, NoSound, Part, Source, size_of
from descant.errors import AudioError

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000
MOST_SAMPLES = float(1 << 62)
"""More than any file has; a larger product of seconds and rate may not even be finite."""

Blocks = Iterator[Float32[np.ndarray, "N C"]]

_log = logging.getLogger("descant")
_decoded = DecodedFiles()
_outcomes: Remembered[Outcome] = Remembered()


class AudioHeader(NamedTuple):
    """Length, rate and channels of a file's sound."""

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
        name: how messages call it.
        key: what tells it from every other content.
        salvage: what can be read of a damaged file is taken, and what is lost is logged.
    """

    file: ByteFile
    name: str
    key: Hashable
    source: Source
    salvage: bool

    def judge(self, outcome: Outcome, logs: bool) -> None:
        """Raises what is lost; or, where it is to be salvaged, logs it if that is asked for.

        Raises:
            AudioError: something is, and it is not to be salvaged.
        """
        if not outcome.losses:
            return
        lost = "; ".join(outcome.losses)
        readable_s = outcome.num_samples / outcome.sample_rate_hz
        if not self.salvage:
            raise AudioError(f"{self.name} is damaged: {lost}. {readable_s:.2f} s can be read; salvage=True takes them")
        if logs:
            _log.warning("salvaged %.2f s of %s: %s", readable_s, self.name, lost)


class Audio(ABC):
    """The samples of an opened file."""

    @abstractmethod
    def header(self) -> AudioHeader:
        """Length, rate and channels."""

    @abstractmethod
    def blocks(self) -> Blocks:
        """All samples in order. What is lost is raised or logged, at the end where it is not known before."""

    @abstractmethod
    def between(self, offset_s: float, duration_s: float | None) -> Blocks:
        """The samples between two times, as many as there are."""

    @abstractmethod
    def prepare_pieces(self) -> None:
        """Decodes, once, what pieces are then taken from, if they cannot be read by themselves."""

    @abstractmethod
    def piece(self, offset: int, count: int) -> Float32[np.ndarray, "N C"]:
        """That many samples from that place on, which must be there."""

    @property
    @abstractmethod
    def sample_rate_hz(self) -> int:
        """Samples per second."""

    @property
    @abstractmethod
    def known_duration_s(self) -> float | None:
        """The length, where it is known before anything is decoded."""


class SeekableAudio(Audio):
    """PCM and FLAC, by libsndfile: every piece can be read by itself."""

    def __init__(self, opened: Opened, reading: sndfile.Reading) -> None:
        self._opened, self._reading = opened, reading
        check_rate(reading.sample_rate_hz, opened.name)
        if reading.num_samples < 1:
            raise AudioError(f"{opened.name} holds no samples: it has a header and no sound")
        self._facts = AudioHeader(reading.num_samples, reading.sample_rate_hz, reading.num_channels)
        self._judge(logs=False)

    @property
    def sample_rate_hz(self) -> int:
        return self._facts.sample_rate_hz

    def header(self) -> AudioHeader:
        # A look at the end, once, so that a FLAC file whose header promises too much is found out here as well.
        key = (self._opened.key, "its end is there")
        if _outcomes.get(key) is None:
            self.piece(self._facts.num_samples - 1, 1)
            _outcomes.put(key, Outcome(**self._facts._asdict()))
        return self._facts

    def blocks(self) -> Blocks:
        self._judge(logs=True)
        return self._exactly(0, self._facts.num_samples)

    def between(self, offset_s: float, duration_s: float | None) -> Blocks:
        self._judge(logs=True)
        start, end = _places(offset_s, duration_s, self.sample_rate_hz)
        end = self._facts.num_samples if end is None else min(end, self._facts.num_samples)
        if start >= end:
            return iter(())
        return self._exactly(start, end - start)

    def prepare_pieces(self) -> None:
        del self  # any piece can be read by itself

    def piece(self, offset: int, count: int) -> Float32[np.ndarray, "N C"]:
        return np.concatenate(list(self._exactly(offset, count)))

    @property
    def known_duration_s(self) -> float | None:
        return self._facts.duration_s

    def _judge(self, logs: bool) -> None:
        self._opened.judge(Outcome(**self._facts._asdict(), losses=self._opened.source.losses), logs)

    def _exactly(self, start: int, count: int) -> Blocks:
        found = 0
        try:
            for block in self._reading.blocks(start, count):
                found += len(block)
                yield block
        except NoSound as error:
            raise AudioError(f"{self._opened.name} is damaged: {self._report() or error}") from error
        if found < count:
            raise AudioError(f"{self._opened.name} is damaged: {self._report() or 'it is cut short'}")

    def _report(self) -> str:
        """What a decoder finds that goes on behind the first damage."""
        source = replace(self._opened.source, decoder=FFMPEG, seeks=False)
        try:
            DecodedAudio(replace(self._opened, source=source)).header()
        except AudioError as error:
            return str(error).removeprefix(f"{self._opened.name} ").removeprefix("is damaged: ")
        return ""


class DecodedAudio(Audio):
    """Everything else: decoded from its beginning, by FFmpeg or libsndfile."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._rate_hz = 0

    @property
    def known_duration_s(self) -> float | None:
        return None

    @property
    def sample_rate_hz(self) -> int:
        if not self._rate_hz:
            outcome = _outcomes.get(self._opened.key)
            self._rate_hz = 0 if outcome is None else outcome.sample_rate_hz
        if not self._rate_hz:
            next(self._decode())
        return self._rate_hz

    def header(self) -> AudioHeader:
        outcome = _outcomes.get(self._opened.key) or _outcome_of(self._decode())
        self._opened.judge(outcome, logs=False)
        return AudioHeader(outcome.num_samples, outcome.sample_rate_hz, outcome.num_channels)

    def blocks(self) -> Blocks:
        outcome = yield from self._decode()
        self._opened.judge(outcome, logs=True)

    def between(self, offset_s: float, duration_s: float | None) -> Blocks:
        start, end = _places(offset_s, duration_s, self.sample_rate_hz)
        at = 0
        for block in self.blocks():
            piece = block[max(0, start - at) : None if end is None else max(0, end - at)]
            at += len(block)
            if len(piece):
                yield piece
            if end is not None and at >= end:
                return

    def prepare_pieces(self) -> None:
        if _outcomes.get(self._opened.key) is None:
            _decoded.samples(self._opened.key, self._decode)

    def piece(self, offset: int, count: int) -> Float32[np.ndarray, "N C"]:
        return _decoded.samples(self._opened.key, self._decode)[offset : offset + count]

    def _decode(self) -> Generator[Float32[np.ndarray, "N C"], None, Outcome]:
        """The samples, and what was found on the way."""
        num_samples = num_channels = 0
        losses, notes = list(self._opened.source.losses), list(self._opened.source.notes)
        try:
            for rate_hz, block in self._parts(losses, notes):
                if not num_samples:
                    check_rate(rate_hz, self._opened.name)
                    self._rate_hz, num_channels = rate_hz, block.shape[1]
                if (rate_hz, block.shape[1]) != (self._rate_hz, num_channels):
                    losses.append(self._change(num_samples, num_channels, rate_hz, block.shape[1]))
                    break
                num_samples += len(block)
                yield block
        except NoSound as error:
            if losses:
                raise AudioError(f"{self._opened.name} is damaged: {'; '.join(losses)}; it {error}") from error
            raise AudioError(f"{self._opened.name} {error}") from error
        if not num_samples and losses:
            raise AudioError(f"{self._opened.name} is damaged: {'; '.join(losses)}; nothing of it can be read")
        if not num_samples:
            raise AudioError(f"{self._opened.name} holds no samples: it has a header and no sound")
        for note in notes if _outcomes.get(self._opened.key) is None else ():
            _log.warning("%s: %s", self._opened.name, note)
        outcome = Outcome(
            num_samples=num_samples, sample_rate_hz=self._rate_hz, num_channels=num_channels, losses=tuple(losses)
        )
        _outcomes.put(self._opened.key, outcome)
        return outcome

    def _parts(self, losses: list[str], notes: list[str]) -> ffmpeg.Rated:
        """The blocks of every part of the file; what is found on the way is added to ``losses`` and ``notes``."""
        source, now_s = self._opened.source, 0.0
        # A part takes any offset; a file refuses to go to places that cannot be.
        all_of_it = (((0, size_of(self._opened.file)),),)
        for number, spans in enumerate(source.parts or all_of_it):
            part = Part(self._opened.file, spans)
            num_frames = source.num_frames[number] if source.num_frames else None
            decoding = ffmpeg.Decoding(part, source, now_s, num_frames)
            for rate_hz, block in decoding.blocks() if source.decoder == FFMPEG else _by_libsndfile(part):
                now_s += len(block) / rate_hz
                yield rate_hz, block
            losses += decoding.losses
            notes += decoding.notes

    def _change(self, num_samples: int, num_channels: int, rate_hz: int, channels: int) -> str:
        what = f"rate changes from {self._rate_hz} to {rate_hz} Hz"
        if rate_hz == self._rate_hz:
            what = f"number of channels changes from {num_channels} to {channels}"
        return f"at {num_samples / self._rate_hz:.2f} s its {what}; make it one with: ffmpeg -i INPUT output.wav"


def _by_libsndfile(file: Any) -> ffmpeg.Rated:
    try:
        reading = sndfile.Reading(file, is_sequential=True)
    except NoSound as error:
        raise NoSound(
            "is not audio that can be read here. Readable are wav, flac, ogg, opus, mp3, m4a, aiff and "
            "more of FFmpeg and libsndfile; convert others first: ffmpeg -i INPUT output.wav"
        ) from error
    with reading:
        for block in reading.blocks():
            yield reading.sample_rate_hz, block


def check_rate(rate_hz: int, name: str) -> None:
    """Refuses a rate that no clip may have.

    Raises:
        AudioError: with the range.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{name} has a rate of {rate_hz} Hz; allowed are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")


def _outcome_of(decoding: Generator[Float32[np.ndarray, "N C"], None, Outcome]) -> Outcome:
    while True:
        try:
            next(decoding)
        except StopIteration as end:
            return end.value


def _places(offset_s: float, duration_s: float | None, rate_hz: int) -> tuple[int, int | None]:
    """The first sample between two times, and the first behind them."""
    start = round(min(offset_s * rate_hz, MOST_SAMPLES))
    return start, None if duration_s is None else start + max(1, round(min(duration_s * rate_hz, MOST_SAMPLES)))
