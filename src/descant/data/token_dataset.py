"""Batches of codes with captions: what a language model is trained on.

All shards are held in memory as 16-bit integers: thirty hours at 50 frames a second and 4 codebooks are 43 MB.
"""

import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConfig
from descant.config import to_dict
from descant.data.captions import CaptionConfig, caption
from descant.data.clip_features import read_features
from descant.data.embeddings import crop_embedding, embeddings
from descant.data.manifest import Split
from descant.data.melodies import crop, melodies
from descant.data.shards import Shard, TokenizedClip, clips_fingerprint, read_index, read_shard, shard_path
from descant.errors import ConfigError, DataError
from descant.shapes import Codes


@dataclass(frozen=True, kw_only=True)
class TokenBatchConfig:
    """MusicGen trains on crops of 30 s, 1,500 frames (arXiv 2306.05284, section 3.1).

    Args:
        short_frames: every second batch is made of crops this long, as many of them as fill the same number of frames.
            What a caption says, of the tempo say, is needed at the beginnings of crops: later a model reads it off
            what came before. 0 is for no such batches.
    """

    batch_size: int = 8
    segment_frames: int = 1_500
    short_frames: int = 0
    split: Split = "train"
    seed: int = 0
    captions: CaptionConfig = field(default_factory=CaptionConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.segment_frames < 1:
            raise ConfigError(
                f"batch_size={self.batch_size}, segment_frames={self.segment_frames}: both must be at least 1"
            )
        if not 0 <= self.short_frames < self.segment_frames:
            raise ConfigError(
                f"short_frames={self.short_frames}: 0 for none, or below segment_frames={self.segment_frames}"
            )


@dataclass(frozen=True)
class TokenBatch:
    """Crops of clips, one a row.

    Args:
        frame_mask: false where a clip had ended; the codes there are zeros.
        first_beats: how many beats of its clip lie before a crop, by the clip's ``bpm``; the first beat is where the
            tag ``first_beat_s`` says, else at the beginning. NaN where the tags do not tell.
        chroma: the chromagram of each crop; None where melodies were not asked for.
        clap: where the sound of each crop is in the joint space; None where that was not asked for.
    """

    codes: Codes
    captions: list[str | None]
    frame_mask: Bool[Tensor, "B T"]
    clips: list[TokenizedClip]
    first_beats: Float[Tensor, " B"]
    chroma: Float[Tensor, "B frames P"] | None = None
    clap: Float[Tensor, "B D"] | None = None


class TokenBatches:
    """Random crops of tokenized clips, a pure function of (seed, step).

    Every clip has as many places in an epoch as whole crops fit into it, at least one; an epoch is a permutation of all
    places, and each visit crops at a new offset. A world of W ranks shares an epoch by asking for batch
    ``step * W + rank``. For measuring there are ``fixed_batch(0)`` to ``fixed_batch(num_fixed_batches - 1)``: each clip
    once, from its beginning, its first caption word for word.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: TokenBatchConfig,
        melody: MelodyConfig | None = None,
        clap: ClapConfig | None = None,
    ) -> None:
        """Reads all shards of a folder.

        Args:
            melody: how chromagrams were heard, for batches that have them; `data/melodies.py` makes them.
            clap: how embeddings were made, for batches that have them; `data/embeddings.py` makes them.

        Raises:
            DataError: a shard, its melodies or its embeddings are missing or damaged, or no clip is of the wanted
                split.
        """
        self.config = config
        self.melody, self.clap = melody, clap
        self.index = read_index(folder)
        shards = [read_shard(shard_path(folder, number)) for number in range(self.index.num_shards)]
        pairs = [(clip, shard.codes) for shard in shards for clip in shard.clips if clip.split == config.split]
        if not pairs:
            raise DataError(
                f"{str(Path(folder))!r} has no clip of split {config.split!r}: scan at least two clips with a "
                f"--valid-share between 0 and 1, and tokenize into a new folder"
            )
        self.identity = {**to_dict(self.index), "clips_fingerprint": clips_fingerprint(shards)}
        """What a run was trained on, as plain data: a clip that was mended and tokenized later changes it."""
        self.clips = [clip for clip, _ in pairs]
        self._codes = [codes[:, clip.start_frame : clip.start_frame + clip.num_frames] for clip, codes in pairs]
        self._chroma: list[UInt8[Tensor, "_ P"]] = []
        if melody is not None:
            heard = [read_features(folder, number, shard, melodies(melody)) for number, shard in enumerate(shards)]
            self._chroma = self._of_split(shards, heard)
        self._embeddings: list[Float[Tensor, "_ D"]] = []
        if clap is not None:
            read = [read_features(folder, number, shard, embeddings(clap)) for number, shard in enumerate(shards)]
            self._embeddings = self._of_split(shards, read)
        self._frame_rate_hz = self.index.codec.frame_rate_hz
        self._places = {
            length: [index for index, clip in enumerate(self.clips) for _ in range(max(1, clip.num_frames // length))]
            for length in {config.segment_frames, config.short_frames} - {0}
        }

    @property
    def embeddings(self) -> Float[Tensor, "N D"]:
        """Where all windows of all clips are in the joint space; what the codebooks start from."""
        assert self.clap is not None, "asked for without a joint space"
        return torch.cat(self._embeddings).float()

    @property
    def num_fixed_batches(self) -> int:
        """How many batches it takes to see each clip once; the last one may be smaller."""
        return -(-len(self.clips) // self.config.batch_size)

    def batch(self, step: int) -> TokenBatch:
        """The training batch of a step."""
        config = self.config
        if config.short_frames == 0:
            return self._drawn(config.segment_frames, step, config.batch_size)
        turn, is_short = divmod(step, 2)
        if not is_short:
            return self._drawn(config.segment_frames, turn, config.batch_size)
        return self._drawn(config.short_frames, turn, config.batch_size * config.segment_frames // config.short_frames)

    def fixed_batch(self, number: int) -> TokenBatch:
        """A batch for measuring: it hangs on nothing but its number.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= number < self.num_fixed_batches:
            raise IndexError(f"batch {number}: there are {self.num_fixed_batches}")
        first = number * self.config.batch_size
        indices = range(first, min(first + self.config.batch_size, len(self.clips)))
        wordings = [(*self.clips[index].captions, None)[0] for index in indices]
        rows = [(index, 0, wording) for index, wording in zip(indices, wordings, strict=True)]
        return self._collated(rows, self.config.segment_frames)

    def _of_split(self, shards: Sequence[Shard], heard: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """What was heard of the clips of this split, from what was heard of all clips of each shard."""
        clips = [clip for shard in shards for clip in shard.clips]
        all_heard = [one for of_shard in heard for one in of_shard]
        return [one for clip, one in zip(clips, all_heard, strict=True) if clip.split == self.config.split]

    def _drawn(self, num_frames: int, number: int, num_rows: int) -> TokenBatch:
        """The batch of this number among those of crops this long."""
        seed, places = self.config.seed, self._places[num_frames]
        rows = []
        for position in range(number * num_rows, (number + 1) * num_rows):
            epoch, place = divmod(position, len(places))
            index = places[_permutation(seed, epoch, len(places))[place]]
            generator = random.Random(f"{seed}/{num_frames}/{position}")
            spare = self.clips[index].num_frames - num_frames
            offset = generator.randint(0, spare) if spare > 0 else 0
            rows.append((index, offset, caption(self.clips[index], self.config.captions, generator)))
        return self._collated(rows, num_frames)

    def _collated(self, rows: Sequence[tuple[int, int, str | None]], num_frames: int) -> TokenBatch:
        """The crops of (clip, offset, caption) as one batch."""
        codes = torch.zeros(len(rows), self.index.codec.num_codebooks, num_frames, dtype=torch.int64)
        frame_mask = torch.zeros(len(rows), num_frames, dtype=torch.bool)
        for row, (index, offset, _) in enumerate(rows):
            known = self._codes[index][:, offset : offset + num_frames]
            codes[row, :, : known.shape[1]] = known
            frame_mask[row, : known.shape[1]] = True
        beats = torch.tensor([self._beats_before(self.clips[index], offset) for index, offset, _ in rows])
        clips = [self.clips[index] for index, _, _ in rows]
        return TokenBatch(
            codes=codes,
            captions=[text for _, _, text in rows],
            frame_mask=frame_mask,
            clips=clips,
            first_beats=beats,
            chroma=self._heard(rows, num_frames),
            clap=self._points(rows, num_frames),
        )

    def _heard(self, rows: Sequence[tuple[int, int, str | None]], num_frames: int) -> Float[Tensor, "B T P"] | None:
        """The chromagrams of the crops of (clip, offset, caption)."""
        if self.melody is None:
            return None
        rate_hz = self.melody.sample_rate_hz / self.melody.hop_samples
        length = math.ceil(num_frames / self._frame_rate_hz * rate_hz) + 1
        crops = [
            crop(self._chroma[index], offset / self._frame_rate_hz, length, self.melody) for index, offset, _ in rows
        ]
        return torch.stack(crops)

    def _points(self, rows: Sequence[tuple[int, int, str | None]], num_frames: int) -> Float[Tensor, "B D"] | None:
        """Where the crops of (clip, offset, caption) are in the joint space."""
        if self.clap is None:
            return None
        points = []
        for index, offset, _ in rows:
            frames = min(num_frames, self.clips[index].num_frames - offset)
            first_s, duration_s = offset / self._frame_rate_hz, frames / self._frame_rate_hz
            points.append(crop_embedding(self._embeddings[index], first_s, duration_s, self.clap))
        return torch.stack(points)

    def _beats_before(self, clip: TokenizedClip, offset: int) -> float:
        # Tags are what people wrote, and "about 90" is no tempo to count by.
        try:
            bpm, first_beat_s = float(clip.tags["bpm"]), float(clip.tags.get("first_beat_s", 0.0))
        except (KeyError, TypeError, ValueError):
            return math.nan
        return (offset / self._frame_rate_hz - first_beat_s) * bpm / 60


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, length: int) -> tuple[int, ...]:
    """The order of an epoch. Kept, since a shuffle of all places for every row would cost more than the batch."""
    order = list(range(length))
    random.Random(f"{seed}/{epoch}/order").shuffle(order)
    return tuple(order)
