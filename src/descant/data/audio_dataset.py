"""Batches of random segments of audio, to train a codec."""

import logging
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import AudioHeader, Clip, audio_header, read_samples
from descant.data.fixed_crops import fixed_crops
from descant.data.manifest import ClipRecord
from descant.errors import AudioError, ConfigError, DataError, without_salvage
from descant.nn.settings import in_one_thread
from descant.shapes import Wave

LOG = logging.getLogger(__name__)

MAX_DRAWS = 20
"""How many draws a segment gets before a silent one is accepted."""

MAX_SAMPLES = 10**10
"""Of a batch: 87 hours at 32 kHz, 40 GB."""


@dataclass(frozen=True, kw_only=True)
class AudioBatchConfig:
    """MusicGen's codec was trained on segments of one second at 32 kHz (arXiv 2306.05284, section 3.1)."""

    segment_s: float = 1.0
    batch_size: int = 16
    sample_rate_hz: int = 32_000
    num_channels: int = 1
    seed: int = 0
    pad_short_clips: bool = False
    silence_db: float = -60.0
    """A segment whose root mean square is below this is drawn again; minus infinity accepts every segment."""

    def __post_init__(self) -> None:
        if not 0 < self.segment_s * self.sample_rate_hz < math.inf or self.segment_samples < 1 or self.batch_size < 1:
            raise ConfigError(
                f"segment_s={self.segment_s:g}, sample_rate_hz={self.sample_rate_hz}, batch_size={self.batch_size}: "
                f"a batch needs at least one sample"
            )
        if self.batch_size * self.segment_samples > MAX_SAMPLES:
            raise ConfigError(
                f"segment_s={self.segment_s:g}, batch_size={self.batch_size}: a batch has at most {MAX_SAMPLES} "
                f"samples; for larger updates raise trainer.accumulate"
            )
        if self.num_channels not in (1, 2):
            raise ConfigError(f"num_channels={self.num_channels}: allowed are 1 and 2")

    @property
    def segment_samples(self) -> int:
        """The length of a segment in samples."""
        return round(self.segment_s * self.sample_rate_hz)


@dataclass(frozen=True)
class AudioBatch:
    """Segments of audio with equal length, sample rate and number of channels."""

    wave: Wave


class AudioBatches:
    """Random segments of clips, a pure function of (seed, step).

    A clip is drawn with a probability proportional to its duration, so that every second of the set is equally likely,
    then the start of the segment. Clips shorter than a segment are padded with silence if the config allows it, else
    left out; ``num_skipped`` is their number.
    """

    def __init__(self, records: Sequence[ClipRecord], config: AudioBatchConfig) -> None:
        usable = [record for record in records if config.pad_short_clips or record.duration_s >= config.segment_s]
        if not usable:
            raise DataError(
                f"none of {len(records)} clips is as long as a segment of {config.segment_s:g} s: "
                f"shorten segment_s or allow pad_short_clips"
            )
        self.config = config
        self.records = usable
        self.num_skipped = len(records) - len(usable)
        # Headers are read once: finding the length of an MP3 means reading all of it.
        self._headers: dict[Path, AudioHeader] = {}
        self._ends_s = list(accumulate(record.duration_s for record in usable))
        self.left_out: dict[str, str] = {}
        """The clips found so far that cannot be read, by their paths, each with the reason."""

    @in_one_thread  # segments are short: two of torch's threads took twice as long, waiting for each other
    def batch(self, step: int) -> AudioBatch:
        """The batch of a step; in place of clips that cannot be read others are drawn.

        Raises:
            DataError: none of ``MAX_DRAWS`` clips in a row can be read.
        """
        segments = [self._segment(step, row) for row in range(self.config.batch_size)]
        return AudioBatch(torch.stack(segments))

    @in_one_thread
    def fixed_batches(self, most: int | None = None) -> list[AudioBatch]:
        """Batches for validation: segments from all parts of all clips, always the same.

        Args:
            most: of these, this many batches at most (``fixed_crops``).

        Raises:
            DataError: none of the clips can be read.
        """
        config = self.config
        names = [str(record.path) for record in self.records]
        lengths = [round(record.duration_s * config.sample_rate_hz) for record in self.records]
        most_crops = None if most is None else most * config.batch_size
        crops = fixed_crops(names, lengths, config.segment_samples, config.seed, most_crops)
        places = [
            (self.records[clip], first / max(1, lengths[clip] - config.segment_samples + 1)) for clip, first in crops
        ]
        segments = [segment for place in places if (segment := self._read(*place)) is not None]
        if not segments:
            raise DataError(f"none of {len(places)} segments can be read, the last: {[*self.left_out.values()][-1]}")
        return [AudioBatch(part) for part in torch.stack(segments).split(config.batch_size)]

    def leave_out(self, path: str, reason: str) -> None:
        """Notes that a clip cannot be read, and says so the first time."""
        if path not in self.left_out:
            LOG.warning("a clip cannot be read and is left out: %s", reason)
        self.left_out[path] = reason

    def _segment(self, step: int, row: int) -> Float[Tensor, "C N"]:
        # One generator per row: with a shared one, a redrawn segment would change all that follow.
        generator = random.Random(f"{self.config.seed}/{step}/{row}")
        silent = None
        for _ in range(MAX_DRAWS):
            index = bisect_right(self._ends_s, generator.random() * self._ends_s[-1])
            segment = self._read(self.records[min(index, len(self.records) - 1)], generator.random())
            if segment is not None and segment.square().mean() >= 10 ** (self.config.silence_db / 10):
                return segment
            silent = silent if segment is None else segment
        if silent is None:
            raise DataError(f"{MAX_DRAWS} clips in a row cannot be read, the last: {[*self.left_out.values()][-1]}")
        return silent

    def _read(self, record: ClipRecord, position: float) -> Float[Tensor, "C N"] | None:
        """A segment (``_crop``), or None where the clip cannot be read, which is noted once."""
        try:
            return self._crop(record, position)
        except (AudioError, DataError) as error:
            self.leave_out(str(record.path), without_salvage(str(error)))
            return None

    def _crop(self, record: ClipRecord, position: float) -> Float[Tensor, "C N"]:
        """The segment at ``position`` (0 to 1) of the clip's possible starts; only the segment is decoded."""
        config = self.config
        if record.path not in self._headers:
            self._headers[record.path] = audio_header(record.path)
        header = self._headers[record.path]
        wanted = config.segment_samples
        rate_hz = header.sample_rate_hz
        # One extra source sample, since resampling rounds the length.
        in_source = wanted if rate_hz == config.sample_rate_hz else -(-wanted * rate_hz // config.sample_rate_hz) + 1
        in_source = min(in_source, header.num_samples)
        offset = int(position * (header.num_samples - in_source + 1))
        clip = Clip(read_samples(record.path, offset, in_source), rate_hz).to_channels(config.num_channels)
        samples = clip.resample(config.sample_rate_hz).samples[:, :wanted]
        missing = wanted - samples.shape[1]
        if missing > 1 and not config.pad_short_clips:
            raise DataError(
                f"{str(record.path)!r} has {header.duration_s:.3f} s, but "
                f"{record.duration_s:.3f} s in the manifest: scan the folder again"
            )
        return torch.nn.functional.pad(samples, (0, missing)) if missing else samples
