"""Batches of codes with captions: what a language model is trained on.

The codes are read from their files: thirty hours at 50 frames a second and 4 codebooks are 43 MB.
"""

import logging
import math
import os
import random
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descant.data.captions import CaptionConfig, caption, plain_caption
from descant.data.clip_conditions import ClipCondition, CropTimes
from descant.data.clip_features import FeatureKind
from descant.data.corpus import ChosenClips, Corpus, read_corpus
from descant.data.fixed_crops import fixed_crops
from descant.data.manifest import Split
from descant.data.shards import TokenizedClip
from descant.errors import ConfigError, DataError, InvalidRequest
from descant.shapes import Codes
from descant.tempo_key import FASTEST_BPM, SLOWEST_BPM, UNKNOWN, TempoKey, parse_key

LOG = logging.getLogger(__name__)
MAX_NAMED = 5
MAX_FRAMES = 10**8
"""Of a batch: 555 hours at 50 frames a second, more than any memory holds the activations of."""


@dataclass(frozen=True, kw_only=True)
class TokenBatchConfig:
    """MusicGen trains on crops of 30 s, 1,500 frames (arXiv 2306.05284, section 3.1).

    Args:
        short_frames: every second batch is made of crops this long, with more rows to fill the same number of frames.
            A caption, for example the tempo in it, matters most at the start of a crop: later, a model infers it from
            the frames before. 0 turns such batches off.
        tempo_key_probability: of a crop to be given the tempo and the key of its clip's tags as numbers, whatever its
            caption says of them, as in music whose prompt leaves them open and for which a prior chooses.
        max_hours: only the first clips are used that are not longer than this together; None uses all.
    """

    batch_size: int = 8
    segment_frames: int = 1_500
    short_frames: int = 0
    split: Split = "train"
    seed: int = 0
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    tempo_key_probability: float = 0.0
    max_hours: float | None = None

    def __post_init__(self) -> None:
        if self.max_hours is not None and not self.max_hours > 0:
            raise ConfigError(f"max_hours={self.max_hours:g}: must be above 0, or none for all clips")
        if self.batch_size < 1 or self.segment_frames < 1:
            raise ConfigError(
                f"batch_size={self.batch_size}, segment_frames={self.segment_frames}: both must be at least 1"
            )
        if self.batch_size * self.segment_frames > MAX_FRAMES:
            raise ConfigError(
                f"batch_size={self.batch_size}, segment_frames={self.segment_frames}: a batch has at most {MAX_FRAMES} "
                f"frames; for larger updates raise trainer.accumulate"
            )
        if not 0 <= self.tempo_key_probability <= 1:
            raise ConfigError(f"tempo_key_probability={self.tempo_key_probability:g}: a probability is between 0 and 1")
        if not 0 <= self.short_frames < self.segment_frames:
            raise ConfigError(
                f"short_frames={self.short_frames}: 0 for none, or below segment_frames={self.segment_frames}"
            )


@dataclass(frozen=True)
class TokenBatch:
    """Crops of clips, one a row.

    Args:
        conditions: by name, for each row: ``text`` and whatever else is stored for the clips (``ClipCondition``).
        frame_mask: False after the end of a clip; the codes there are zeros.
        first_beats: number of beats in its clip before a crop, by the clip's ``bpm``. The first beat is at the tag
            ``first_beat_s``, else at the start of the clip. NaN where the tags do not say.
        prepared: what a model's conditioners have prepared of the conditions (``MusicGenModel.prepare``); None where
            that is still to be done.
    """

    codes: Codes
    conditions: list[dict[str, Any]]
    frame_mask: Bool[Tensor, "B T"]
    clips: list[TokenizedClip]
    first_beats: Float[Tensor, " B"]
    prepared: Mapping[str, Any] | None = None

    @property
    def captions(self) -> list[str | None]:
        """The text of each row."""
        return [row.get("text") for row in self.conditions]


class TokenBatches:
    """Random crops of tokenized clips, a pure function of (seed, step).

    Every clip has as many places in an epoch as whole crops fit into it, at least one; an epoch is a permutation of all
    places, and each visit crops at a new offset. A world of W ranks shares an epoch by asking for batch
    ``step * W + rank``. For validation there are ``fixed_batches()``, with unchanged captions (``plain_caption``).
    """

    def __init__(
        self,
        corpus: Corpus | str | os.PathLike[str],
        config: TokenBatchConfig,
        conditions: Sequence[ClipCondition] = (),
    ) -> None:
        """Chooses the clips of a split.

        Args:
            corpus: or its folder (``read_corpus``).
            conditions: those to be read with the codes, in addition to the captions (``clip_conditions``). A clip
                whose tag cannot be read, such as chords with a mistake, is without that condition, and is named in the
                log.

        Raises:
            DataError: a shard or its stored conditions are missing or damaged, or no clip is of the wanted split.
        """
        self.config = config
        corpus = corpus if isinstance(corpus, Corpus) else read_corpus(corpus)
        self.index = corpus.index
        chosen = corpus.clips.of_split(config.split)
        if not chosen:
            raise DataError(
                f"{str(corpus.folder)!r} has no clip of split {config.split!r}: scan at least two clips with a "
                f"--valid-share between 0 and 1, and tokenize again"
            )
        if config.max_hours is not None:
            frames = [corpus.clips.lengths[number] for number in chosen]
            chosen = chosen[: self._num_within(config.max_hours, frames)]
        self.identity = corpus.identity
        """The training data, as plain data: any change of clips, captions or tags changes it."""
        self.clips = ChosenClips(corpus.clips, chosen)
        self.left_out: dict[str, str] = {}
        """The clips that are trained without a condition because it cannot be read, each with the reason."""
        self._corpus = corpus
        self._conditions = tuple(conditions)
        self._features = {condition.name: self._read(condition, corpus, chosen) for condition in conditions}
        self._frame_rate_hz = self.index.codec.frame_rate_hz
        self._places = {
            length: array(
                "i", (index for index, frames in enumerate(self.clips.lengths) for _ in range(max(1, frames // length)))
            )
            for length in {config.segment_frames, config.short_frames} - {0}
        }

    def _num_within(self, hours: float, frames: Sequence[int]) -> int:
        """The number of first clips that are not longer than this together.

        Raises:
            ConfigError: the first one is.
        """
        ends_h = [total / self.index.codec.frame_rate_hz / 3_600 for total in accumulate(frames)]
        count = bisect_right(ends_h, hours)
        if count == 0:
            raise ConfigError(f"max_hours={hours:g}: the first clip alone has {ends_h[0]:.3g} h")
        return count

    def _read(self, condition: ClipCondition, corpus: Corpus, chosen: Sequence[int]) -> list[Any]:
        """The condition of each clip, None for a clip without it."""
        if isinstance(condition.source, FeatureKind):
            features = corpus.features(condition.source)
            return [features[number] for number in chosen]
        read: list[Any] = []
        unread: dict[str, str] = {}
        for clip in self.clips:
            try:
                read.append(condition.source(clip.tags))
            except InvalidRequest as error:
                read.append(None)
                unread[clip.id] = str(error)
        if unread:
            LOG.warning(
                "%s of %s clips have no usable %s and are trained without: %s%s",
                len(unread), len(self.clips), condition.name,
                "; ".join(f"clip {name!r}: {reason}" for name, reason in list(unread.items())[:MAX_NAMED]),
                f"; and {len(unread) - MAX_NAMED} more" if len(unread) > MAX_NAMED else "",
            )  # fmt: skip
        self.left_out |= {name: f"has no usable {condition.name}: {reason}" for name, reason in unread.items()}
        return read

    def features(self, name: str) -> Float[Tensor, "rows width"]:
        """All stored rows of a condition, for example to start codebooks from."""
        return torch.cat(self._features[name]).float()

    def batch(self, step: int) -> TokenBatch:
        """The training batch of a step."""
        config = self.config
        if config.short_frames == 0:
            return self._drawn(config.segment_frames, step, config.batch_size)
        number, is_short = divmod(step, 2)
        if not is_short:
            return self._drawn(config.segment_frames, number, config.batch_size)
        num_rows = config.batch_size * config.segment_frames // config.short_frames
        return self._drawn(config.short_frames, number, num_rows)

    def fixed_batches(self, most: int | None = None) -> list[TokenBatch]:
        """Batches for validation: crops from all parts of all clips with their plain captions, always the same.

        Args:
            most: of these, this many batches at most (``fixed_crops``).
        """
        config = self.config
        names, lengths = [clip.id for clip in self.clips], self.clips.lengths
        most_crops = None if most is None else most * config.batch_size
        crops = fixed_crops(names, lengths, config.segment_frames, config.seed, most_crops)
        rows = [(clip, first, plain_caption(self.clips[clip], config.captions)) for clip, first in crops]
        starts = range(0, len(rows), config.batch_size)
        return [self.crops(rows[start : start + config.batch_size], config.segment_frames) for start in starts]

    def _drawn(self, num_frames: int, number: int, num_rows: int) -> TokenBatch:
        """The batch of this number among those of crops this long."""
        seed, places = self.config.seed, self._places[num_frames]
        rows: list[tuple[int, int, str | None]] = []
        given: list[TempoKey | None] = []
        for position in range(number * num_rows, (number + 1) * num_rows):
            epoch, place = divmod(position, len(places))
            index = places[_permutation(seed, epoch, len(places))[place]]
            generator = random.Random(f"{seed}/{num_frames}/{position}")
            spare = self.clips[index].num_frames - num_frames
            offset = generator.randint(0, spare) if spare > 0 else 0
            rows.append((index, offset, caption(self.clips[index], self.config.captions, generator)))
            is_given = generator.random() < self.config.tempo_key_probability
            given.append(_tempo_key(self.clips[index].tags) if is_given else None)
        batch = self.crops(rows, num_frames)
        conditions = [
            row if tempo_key is None else {**row, "tempo_key": tempo_key}
            for row, tempo_key in zip(batch.conditions, given, strict=True)
        ]
        return replace(batch, conditions=conditions)

    def crops(self, rows: Sequence[tuple[int, int, str | None]], num_frames: int) -> TokenBatch:
        """The crops of (index of the clip, first frame, caption) as one batch."""
        codes = torch.zeros(len(rows), self.index.codec.num_codebooks, num_frames, dtype=torch.int64)
        frame_mask = torch.zeros(len(rows), num_frames, dtype=torch.bool)
        for row, (index, offset, _) in enumerate(rows):
            known = self._corpus.codes(self.clips.numbers[index], offset, num_frames)
            codes[row, :, : known.shape[1]] = known
            frame_mask[row, : known.shape[1]] = True
        beats = torch.tensor([self._beats_before(self.clips[index], offset) for index, offset, _ in rows])
        return TokenBatch(
            codes=codes,
            conditions=[
                {"text": text, **self._cropped(index, self._times(index, offset, num_frames))}
                for index, offset, text in rows
            ],
            frame_mask=frame_mask,
            clips=[self.clips[index] for index, _, _ in rows],
            first_beats=beats,
        )

    def _times(self, index: int, offset: int, num_frames: int) -> CropTimes:
        known_frames = min(num_frames, self.clips[index].num_frames - offset)
        first_s, duration_s, known_s = (frames / self._frame_rate_hz for frames in (offset, num_frames, known_frames))
        return CropTimes(first_s, duration_s, known_s)

    def _cropped(self, index: int, times: CropTimes) -> dict[str, Any]:
        """The conditions of a crop, by name."""
        values = [(one, self._features[one.name][index]) for one in self._conditions]
        return {one.name: one.crop(value, times) for one, value in values if value is not None}

    def _beats_before(self, clip: TokenizedClip, offset: int) -> float:
        # Tags are free text, and "about 90" is not a tempo to count by.
        try:
            bpm, first_beat_s = float(clip.tags["bpm"]), float(clip.tags.get("first_beat_s", 0.0))
        except (KeyError, TypeError, ValueError):
            return math.nan
        return (offset / self._frame_rate_hz - first_beat_s) * bpm / 60


def _tempo_key(tags: Mapping[str, Any]) -> TempoKey | None:
    """The tempo and the key of a clip as far as its tags state them in full; None if they state neither."""
    bpm, key = tags.get("bpm"), tags.get("key")
    stated = TempoKey()
    if isinstance(bpm, int | float) and SLOWEST_BPM <= bpm <= FASTEST_BPM:
        stated = TempoKey(bpm=float(bpm))
    number = parse_key(key) if isinstance(key, str) else None
    stated = stated if number is None else stated.with_key(number)
    return None if stated == UNKNOWN else stated


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, length: int) -> Sequence[int]:
    """The order of an epoch. Cached, since shuffling all places for every row would cost more than the batch."""
    # Not a list, whose numbers are objects: millions of places would take 300 MB.
    order = array("i", range(length))
    random.Random(f"{seed}/{epoch}/order").shuffle(order)
    return order
