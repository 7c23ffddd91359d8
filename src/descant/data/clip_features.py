"""Features of tokenized clips, stored next to their codes: one file per shard.

Each is a safetensors file with one tensor, the clips' rows concatenated; its metadata holds checksums and the settings
of the extractor. Features are computed from the codes alone, so only the shards are needed.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from descant.codec.base import AudioCodec
from descant.codec.spec import codec_spec
from descant.data.shard_index import read_index
from descant.data.shards import Shard, checksum, read_shards, write_file
from descant.errors import DataError
from descant.folder_lock import locked
from descant.shapes import Codes


@dataclass(frozen=True)
class FeatureKind:
    """One kind of feature.

    Args:
        name: of the files and of their tensor.
        command: the command that creates the files.
        width: length of a row.
        extractor: the settings that the rows depend on besides the codes.
    """

    name: str
    command: str
    dtype: torch.dtype
    width: int
    extractor: dict[str, str | int | float]

    def path(self, folder: str | os.PathLike[str], number: int) -> Path:
        """The path of the feature file of a shard."""
        return Path(folder) / f"{self.name}-{number:05d}.safetensors"


def add_features(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    kind: FeatureKind,
    extract: Callable[[Iterable[Codes]], Iterable[Tensor]],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Extracts the features of every clip in a folder of shards; an interrupted run continues.

    Args:
        extract: gives the rows of each clip, in order, from its codes [1, K, T].
        progress: called after every shard with the number of clips done and in total.

    Raises:
        DataError: the codes are of another codec, or an existing file was made with other settings or codes.
        InvalidRequest: another process writes to the folder.
    """
    index = read_index(folder)
    if codec_spec(codec) != index.codec:
        raise DataError(f"the codes in {str(Path(folder))!r} were made with another codec: give that codec")
    with locked(folder):
        shards = read_shards(folder)
        num_clips, done = sum(shard.num_clips for shard in shards.values()), 0
        for number, shard in shards.items():
            if kind.path(folder, number).exists():
                read_features(folder, number, shard, kind)
            else:
                clips = (codes.long()[None] for codes in codes_of(shard))
                rows = [of_clip.to(kind.dtype).cpu() for of_clip in extract(clips)]
                _write(kind.path(folder, number), rows, shard, kind)
            done += shard.num_clips
            if progress is not None:
                progress(done, num_clips)


def read_features(folder: str | os.PathLike[str], number: int, shard: Shard, kind: FeatureKind) -> list[Tensor]:
    """The rows of each clip of a shard.

    Raises:
        DataError: the file is missing or damaged, or was made from other codes or with other settings than ``kind``.
    """
    path = kind.path(folder, number)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["descant"])
            counts = described["rows"]
            is_sound = len(counts) == shard.num_clips and all(type(count) is int and count > 0 for count in counts)
            # Checked before reading: the header of a damaged file may claim any size.
            if not is_sound or file.get_slice(kind.name).get_shape() != [sum(counts), kind.width]:
                raise ValueError("its rows do not match the clips")
            rows = file.get_tensor(kind.name)
        if rows.dtype != kind.dtype or _checksum(rows) != described["sha256"]:
            raise ValueError("its checksum is wrong")
        made_of, extractor = described["codes"], described["extractor"]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} is missing or damaged ({error}): delete it if it is there, and run `{kind.command}`"
        ) from error
    if made_of != _checksum(shard.codes):
        raise DataError(f"{str(path)!r} was made from other codes: delete it, and run `{kind.command}`")
    if extractor != kind.extractor:
        raise DataError(
            f"{str(path)!r} was made with {extractor}, but {kind.extractor} is needed: "
            f"delete it, and run `{kind.command}` with these settings"
        )
    return list(rows.split(counts))


def codes_of(shard: Shard) -> list[Tensor]:
    """The codes [K, T] of each clip of a shard."""
    codes = shard.codes
    return [codes[:, clip.start_frame : clip.start_frame + clip.num_frames] for clip in shard.clips]


def _write(path: Path, rows: list[Tensor], shard: Shard, kind: FeatureKind) -> None:
    whole = torch.cat([torch.empty(0, kind.width, dtype=kind.dtype), *rows])
    if not whole.float().isfinite().all():
        raise DataError(f"{str(path)!r}: the features are not finite; the codec or the extractor is broken")
    described = {
        "rows": [len(of_clip) for of_clip in rows],
        "codes": _checksum(shard.codes),
        "extractor": kind.extractor,
        "sha256": _checksum(whole),
    }
    write_file(path, save({kind.name: whole}, {"descant": json.dumps(described)}))


def _checksum(tensor: Tensor) -> str:
    return checksum(repr((tuple(tensor.shape), tensor.dtype)), tensor)
