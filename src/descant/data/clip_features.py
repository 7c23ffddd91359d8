"""What is heard of tokenized clips, kept beside their codes: one file for each shard of codes.

Each is a safetensors file with one tensor, the clips' rows one after another, and in its metadata what it was made from
and how. It is made from the codes alone, so nothing but the shards is needed.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from descant.codec.base import AudioCodec
from descant.data.shards import Shard, checksum, read_index, read_shard, shard_path, write_file
from descant.data.tokenize import codec_spec
from descant.errors import DataError
from descant.shapes import Codes


@dataclass(frozen=True)
class FeatureKind:
    """One kind of what is heard.

    Args:
        name: of the files and of their tensor.
        command: makes them.
        width: of a row.
        extractor: what the rows hang on besides the codes.
    """

    name: str
    command: str
    dtype: torch.dtype
    width: int
    extractor: dict[str, str | int | float]

    def path(self, folder: str | os.PathLike[str], number: int) -> Path:
        """Where the file of a shard is or will be."""
        return Path(folder) / f"{self.name}-{number:05d}.safetensors"


def add_features(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    kind: FeatureKind,
    hear: Callable[[Codes], Tensor],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Hears every clip of a folder of shards; goes on where an interrupted run stopped.

    Args:
        hear: gives the rows of one clip's codes [1, K, T].
        progress: is called with the number of clips done and of all clips, after every shard.

    Raises:
        DataError: the codes are of another codec, or a file that is there was made otherwise or of other codes.
    """
    index = read_index(folder)
    if codec_spec(codec) != index.codec:
        raise DataError(f"the codes in {str(Path(folder))!r} are of another codec than this one: name the one they had")
    done = 0
    for number in range(index.num_shards):
        shard = read_shard(shard_path(folder, number))
        if kind.path(folder, number).exists():
            read_features(folder, number, shard, kind)
        else:
            rows = [hear(codes.long()[None]).to(kind.dtype).cpu() for codes in codes_of(shard)]
            _write(kind.path(folder, number), rows, shard, kind)
        done += len(shard.clips)
        if progress is not None:
            progress(done, index.num_clips)


def read_features(folder: str | os.PathLike[str], number: int, shard: Shard, kind: FeatureKind) -> list[Tensor]:
    """The rows of each clip of a shard.

    Raises:
        DataError: the file is missing or damaged, of other codes, or made otherwise than ``kind`` says.
    """
    path = kind.path(folder, number)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["descant"])
            counts = described["rows"]
            is_sound = len(counts) == len(shard.clips) and all(type(count) is int and count > 0 for count in counts)
            # Compared before anything is read: a header may ask for any size.
            if not is_sound or file.get_slice(kind.name).get_shape() != [sum(counts), kind.width]:
                raise ValueError("its rows are not those of the clips")
            # Cloned: safetensors maps the file, and what is written into it later would show here.
            rows = file.get_tensor(kind.name).clone()
        if rows.dtype != kind.dtype or _checksum(rows) != described["sha256"]:
            raise ValueError("its checksum is wrong")
        made_of, extractor = described["codes"], described["extractor"]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} is missing or damaged ({error}): delete it if it is there, and run `{kind.command}`"
        ) from error
    if made_of != _checksum(shard.codes):
        raise DataError(f"{str(path)!r} was made of other codes: delete it, and run `{kind.command}`")
    if extractor != kind.extractor:
        raise DataError(
            f"{str(path)!r} was made with {extractor}, and {kind.extractor} is wanted: "
            f"delete it, and run `{kind.command}` with the same"
        )
    return list(rows.split(counts))


def codes_of(shard: Shard) -> list[Tensor]:
    """The codes [K, T] of each clip of a shard."""
    return [shard.codes[:, clip.start_frame : clip.start_frame + clip.num_frames] for clip in shard.clips]


def _write(path: Path, rows: list[Tensor], shard: Shard, kind: FeatureKind) -> None:
    whole = torch.cat([torch.empty(0, kind.width, dtype=kind.dtype), *rows])
    if not whole.float().isfinite().all():
        raise DataError(f"{str(path)!r}: what was heard is no number; the codec or what hears it is broken")
    described = {
        "rows": [len(of_clip) for of_clip in rows],
        "codes": _checksum(shard.codes),
        "extractor": kind.extractor,
        "sha256": _checksum(whole),
    }
    write_file(path, save({kind.name: whole}, {"descant": json.dumps(described)}))


def _checksum(tensor: Tensor) -> str:
    return checksum(repr((tuple(tensor.shape), tensor.dtype)), tensor)
