"""The two ways to read an opened audio file: seeking in it, or decoding it from its beginning."""

import logging
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from descant.audio import ffmpeg, sndfile
from descant.audio.decoded import DecodedFiles, FileCache, Outcome
from descant.audio.opened import Audio, AudioHeader, Blocks, Opened, check_rate, sample_range
from descant.audio.source import FFMPEG, Part, UnreadableAudio, size_of
from descant.errors import AudioError

_log = logging.getLogger("descant")
_decoded = DecodedFiles()
_outcomes: FileCache[Outcome] = FileCache()


class SeekableAudio(Audio):
    """PCM and FLAC, by libsndfile: every excerpt can be read on its own."""

    def __init__(self, opened: Opened, reading: sndfile.Reading) -> None:
        self._opened, self._reading = opened, reading
        check_rate(reading.sample_rate_hz, opened.name)
        if reading.num_samples < 1:
            raise AudioError(f"{opened.name} holds no samples: it has a header and no audio")
        self._header = AudioHeader(reading.num_samples, reading.sample_rate_hz, reading.num_channels)
        self._report_losses(log=False)

    @property
    def sample_rate_hz(self) -> int:
        return self._header.sample_rate_hz

    def header(self) -> AudioHeader:
        # The last sample is read, once, to detect a FLAC file whose header promises too much.
        key = (self._opened.key, "the last sample was read")
        if _outcomes.get(key) is None:
            self.excerpt(self._header.num_samples - 1, 1)
            _outcomes.put(key, Outcome(**self._header._asdict()))
        return self._header

    def blocks(self) -> Blocks:
        self._report_losses(log=True)
        return self._exactly(0, self._header.num_samples)

    def between(self, offset_s: float, duration_s: float | None) -> Blocks:
        self._report_losses(log=True)
        start, end = sample_range(offset_s, duration_s, self.sample_rate_hz)
        end = self._header.num_samples if end is None else min(end, self._header.num_samples)
        if start >= end:
            return iter(())
        return self._exactly(start, end - start)

    def prepare_excerpts(self) -> None:
        del self  # any excerpt can be read on its own

    def excerpt(self, offset: int, count: int) -> Float32[np.ndarray, "N C"]:
        return np.concatenate(list(self._exactly(offset, count)))

    @property
    def known_duration_s(self) -> float | None:
        return self._header.duration_s

    def _report_losses(self, *, log: bool) -> None:
        self._opened.report_losses(Outcome(**self._header._asdict(), losses=self._opened.source.losses), log=log)

    def _exactly(self, start: int, count: int) -> Blocks:
        found = 0
        try:
            for block in self._reading.blocks(start, count):
                found += len(block)
                yield block
        except UnreadableAudio as error:
            raise AudioError(f"{self._opened.name} is damaged: {self._report() or error}") from error
        if found < count:
            raise AudioError(f"{self._opened.name} is damaged: {self._report() or 'it is cut short'}")

    def _report(self) -> str:
        """The losses found by a decoder that continues after the first damage."""
        source = replace(self._opened.source, decoder=FFMPEG, seeks=False)
        try:
            DecodedAudio(replace(self._opened, source=source)).header()
        except AudioError as error:
            return str(error).removeprefix(f"{self._opened.name} ").removeprefix("is damaged: ")
        return ""


class DecodedAudio(Audio):
    """All other formats: decoded from the beginning, by FFmpeg or libsndfile."""

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
        self._opened.report_losses(outcome, log=False)
        return AudioHeader(outcome.num_samples, outcome.sample_rate_hz, outcome.num_channels)

    def blocks(self) -> Blocks:
        outcome = yield from self._decode()
        self._opened.report_losses(outcome, log=True)

    def between(self, offset_s: float, duration_s: float | None) -> Blocks:
        start, end = sample_range(offset_s, duration_s, self.sample_rate_hz)
        position = 0
        for block in self.blocks():
            inside = block[max(0, start - position) : None if end is None else max(0, end - position)]
            position += len(block)
            if len(inside):
                yield inside
            if end is not None and position >= end:
                return

    def prepare_excerpts(self) -> None:
        if _outcomes.get(self._opened.key) is None:
            _decoded.samples(self._opened.key, self._decode)

    def excerpt(self, offset: int, count: int) -> Float32[np.ndarray, "N C"]:
        return _decoded.samples(self._opened.key, self._decode)[offset : offset + count]

    def _decode(self) -> Generator[Float32[np.ndarray, "N C"], None, Outcome]:
        """Yields the samples, and returns what decoding has shown."""
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
        except UnreadableAudio as error:
            if losses:
                raise AudioError(f"{self._opened.name} is damaged: {'; '.join(losses)}; it {error}") from error
            raise AudioError(f"{self._opened.name} {error}") from error
        if not num_samples and losses:
            raise AudioError(f"{self._opened.name} is damaged: {'; '.join(losses)}; none of it can be read")
        if not num_samples:
            raise AudioError(f"{self._opened.name} holds no samples: it has a header and no audio")
        for note in notes if _outcomes.get(self._opened.key) is None else ():
            _log.warning("%s: %s", self._opened.name, note)
        outcome = Outcome(
            num_samples=num_samples, sample_rate_hz=self._rate_hz, num_channels=num_channels, losses=tuple(losses)
        )
        _outcomes.put(self._opened.key, outcome)
        return outcome

    def _parts(self, losses: list[str], notes: list[str]) -> ffmpeg.Rated:
        """The blocks of every part of the file; losses and notes are appended to the two lists."""
        source, now_s = self._opened.source, 0.0
        # A Part accepts any offset; a file refuses to seek to impossible ones.
        whole_file = (((0, size_of(self._opened.file)),),)
        for number, spans in enumerate(source.parts or whole_file):
            part = Part(self._opened.file, spans)
            num_frames = source.num_frames[number] if source.num_frames else None
            decoding = ffmpeg.Decoding(part, source, now_s, num_frames)
            for rate_hz, block in decoding.blocks() if source.decoder == FFMPEG else _by_libsndfile(part):
                now_s += len(block) / rate_hz
                yield rate_hz, block
            losses += decoding.losses
            notes += decoding.notes

    def _change(self, num_samples: int, num_channels: int, rate_hz: int, channels: int) -> str:
        change = f"rate changes from {self._rate_hz} to {rate_hz} Hz"
        if rate_hz == self._rate_hz:
            change = f"number of channels changes from {num_channels} to {channels}"
        return f"at {num_samples / self._rate_hz:.2f} s its {change}; unify it with: ffmpeg -i INPUT output.wav"


def _by_libsndfile(file: Any) -> ffmpeg.Rated:
    try:
        reading = sndfile.Reading(file, is_sequential=True)
    except UnreadableAudio as error:
        raise UnreadableAudio(
            "is not audio that can be read here. Readable are wav, flac, ogg, opus, mp3, m4a, aiff and "
            "more of FFmpeg and libsndfile; convert others first: ffmpeg -i INPUT output.wav"
        ) from error
    with reading:
        for block in reading.blocks():
            yield reading.sample_rate_hz, block


def _outcome_of(decoding: Generator[Float32[np.ndarray, "N C"], None, Outcome]) -> Outcome:
    while True:
        try:
            next(decoding)
        except StopIteration as end:
            return end.value
