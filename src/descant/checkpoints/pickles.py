"""Tensors in pickles, read without running any code.

torch's ``weights_only`` unpickler makes tensors and plain containers and calls nothing else.
"""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from descant.errors import CheckpointError

MAX_PICKLE_BYTES = 2**21
MAX_DIRECTORY_BYTES = 2**22
"""Far more than the names of a released model's tensors need, 200 kB. Longer ones are refused before they are read."""

MAX_ALIASES = 4
"""A tied weight is stored once under several names, but no weight has more than this."""


def unpickled(file: Path) -> dict[str, Any]:
    """The dict in a pickle; the memory of its tensors is the file's.

    Raises:
        CheckpointError: it is not such a file, or it needs more than tensors and plain containers.
    """
    _check_archive(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a broken pickle can raise anything
        first = str(error).split("\n")[0][:200]
        raise CheckpointError(f"{file}: not a pickle of tensors only, which is all that is read ({first})") from error
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file}: holds a {type(content).__name__} where tensors by name are needed")
    return content


def _check_archive(file: Path) -> None:
    """Verifies the checksums in torch's archive: a mapped file is read without doing so.

    Raises:
        CheckpointError: it is not such an archive, or damaged.
    """
    try:
        with _BoundedReader(io.FileIO(file)) as content, zipfile.ZipFile(content) as archive:
            # torch compresses nothing; compressed records could expand to any size.
            is_plain = all(record.compress_type == zipfile.ZIP_STORED for record in archive.infolist())
            longest = max((r.file_size for r in archive.infolist() if r.filename.endswith("data.pkl")), default=0)
            if longest > MAX_PICKLE_BYTES:
                raise ValueError(f"its pickle has {longest} bytes; at most {MAX_PICKLE_BYTES} are read")
            damaged = archive.testzip() if is_plain else None
    except Exception as error:  # as with pickles
        raise CheckpointError(f"{file}: not a pickle in torch's archive ({error})") from error
    if not is_plain or damaged is not None:
        problem = "has compressed records, which torch never writes" if damaged is None else f"{damaged} is damaged"
        raise CheckpointError(f"{file}: {problem}; fetch the file again")


class _BoundedReader(io.BufferedReader):
    """A file that refuses large reads: Python reads the directory of a zip archive at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MAX_DIRECTORY_BYTES:
            raise ValueError(f"its directory has {wanted} bytes; at most {MAX_DIRECTORY_BYTES} are read")
        return super().read(wanted)


def only_tensors(content: Any, file: Path) -> dict[str, Tensor]:
    """``content`` if it is a dict of plain tensors, none larger than its part of the file.

    Raises:
        CheckpointError: it is something else.
    """
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file}: holds a {type(content).__name__} where tensors by name are needed")
    claimed_bytes = 0
    for name, tensor in content.items():
        is_plain = isinstance(name, str) and isinstance(tensor, Tensor)
        if not is_plain or tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            shown = repr(name[:80]) if isinstance(name, str) else f"a key of type {type(name).__name__}"
            raise CheckpointError(f"{file}: {shown} is not a plain tensor")
        claimed_bytes += tensor.nbytes
        # A stride of zero turns one stored value into any number of values.
        if tensor.nbytes > tensor.untyped_storage().nbytes() or claimed_bytes > MAX_ALIASES * file.stat().st_size:
            raise CheckpointError(f"{file}: {name!r:.80} claims more values than the file holds")
    return content
