"""The index of a folder of shards: by which codec, and in windows of which length, its codes were made."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant import config as config_files
from descant.codec.spec import CodecSpec
from descant.data.shards import write_file
from descant.errors import ConfigError, DataError

INDEX_NAME = "index.json"
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """How the codes of a folder were made: by which codec, and in windows of which length."""

    codec: CodecSpec
    window_s: float
    version: int = VERSION

    def __post_init__(self) -> None:
        if not self.window_s > 0:
            raise ConfigError(f"window_s={self.window_s:g}: must be above 0")


def write_index(folder: str | os.PathLike[str], index: ShardIndex) -> None:
    """Writes the index of a folder.

    Raises:
        DataError: it cannot be written.
    """
    text = json.dumps(config_files.to_dict(index), indent=2) + "\n"
    write_file(Path(folder) / INDEX_NAME, text.encode())


def read_index(folder: str | os.PathLike[str]) -> ShardIndex:
    """The index of a folder of shards.

    Raises:
        DataError: it is missing, damaged, or of an unknown version.
    """
    data = _index_data(folder)
    if data.get("version") == 1:
        # The settings that an index had then describe the arrangement of the shards.
        data = {name: data[name] for name in ("codec", "window_s", "version") if name in data}
    try:
        index = config_files.from_dict(ShardIndex, data, path=INDEX_NAME)
    except ConfigError as error:
        raise DataError(f"{str(folder)!r} is not a folder of shards: {error}") from error
    if index.version not in (1, VERSION):
        raise DataError(f"{str(folder)!r} has version {index.version}, this program reads up to {VERSION}")
    return index


def first_version_shards(folder: str | os.PathLike[str]) -> int | None:
    """The number of shards of a complete folder of version 1; None for one of this version."""
    data = _index_data(folder)
    return None if data.get("version") != 1 else -(-int(data["num_clips"]) // int(data["shard_clips"]))


def _index_data(folder: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        data = json.loads((Path(folder) / INDEX_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{str(folder)!r} is not a folder of shards: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{str(folder)!r} is not a folder of shards: {INDEX_NAME} is no JSON object")
    return data
