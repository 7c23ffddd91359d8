"""Frozen weights that stay in their files and are read again whenever they are used."""

import json
import math
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.checkpoints.keeping import Keeping
from descant.checkpoints.tensor_files import TensorFiles
from descant.conditioning.encoders.t5 import TIED_EMBEDDING
from descant.conditioning.encoders.t5_network import EMBEDDING
from descant.conditioning.encoders.weights import HeldWeights, Weights
from descant.errors import CheckpointError
from descant.nn.finite import is_finite

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


class StoredFile:
    """A safetensors file that stays open. It is read and not mapped: pages of a mapped file count as memory of the
    process, and if it is overwritten meanwhile, the process dies.

    Raises:
        CheckpointError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            self._file = path.open("rb", buffering=0)
            weakref.finalize(self, self._file.close)
            self._version = self._version_now()
            length = int.from_bytes(self._file.read(8), "little")
            self._header = json.loads(self._file.read(length))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
        self._start = 8 + length

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self._header[name]["shape"])

    def read(self, name: str, row: int | None = None) -> Tensor:
        """A tensor, or one row of it, as it is stored.

        Raises:
            CheckpointError: it is not of floating-point numbers, or the file was changed since it was opened.
        """
        entry = self._header[name]
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(f"{self.path}: {name} is stored as {entry['dtype']}, which is not floating-point")
        shape = self.shape(name) if row is None else self.shape(name)[1:]
        dtype = DTYPES[entry["dtype"]]
        buffer = bytearray(math.prod(shape) * dtype.itemsize)
        with self._lock:
            try:
                self._file.seek(self._start + entry["data_offsets"][0] + (row or 0) * len(buffer))
                is_whole = self._read_into(memoryview(buffer)) and self._version_now() == self._version
            except OSError as error:
                raise CheckpointError(f"{self.path}: {name} cannot be read ({error})") from error
        if not is_whole:
            raise CheckpointError(f"{self.path}: was changed since the model was loaded; load it again")
        return torch.frombuffer(buffer, dtype=dtype).view(shape) if buffer else torch.empty(shape, dtype=dtype)

    def _read_into(self, view: memoryview) -> bool:
        while view:
            count = self._file.readinto(view)
            if not count:
                return False
            view = view[count:]
        return True

    def _version_now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


class StoredWeights(Weights):
    """Weights in safetensors files, all of which were read once and have finite values.

    Args:
        places: for each name the file, and the name in the file.

    Raises:
        CheckpointError: a value is not finite, or a file cannot be read.
    """

    def __init__(self, places: Mapping[str, tuple[StoredFile, str]]) -> None:
        self._places = dict(places)
        for file, name in self._places.values():
            if not is_finite(file.read(name)):
                raise CheckpointError(f"{file.path}: {name} holds values that are not finite")

    @classmethod
    def of(cls, files: TensorFiles, names: Mapping[str, str]) -> "StoredWeights | None":
        """The weights with these names, given with those in the files; None if they are in pickles.

        Raises:
            CheckpointError: as the class.
        """
        paths = {name: files.path_of(inside) for name, inside in names.items()}
        opened = {path: StoredFile(path) for path in set(paths.values()) if path is not None}
        if not all(path in opened for path in paths.values()):
            return None
        return cls({name: (opened[path], names[name]) for name, path in paths.items() if path is not None})

    def __getitem__(self, name: str) -> Tensor:
        file, inside = self._places[name]
        return file.read(inside)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        file, inside = self._places[name]
        return file.shape(inside)

    def rows(self, name: str, index: Int[Tensor, " L"]) -> Float[Tensor, "L D"]:
        file, inside = self._places[name]
        return torch.stack([file.read(inside, row) for row in index.tolist()])


def text_weights(files: TensorFiles, names: Mapping[str, str], keeping: Keeping) -> Weights:
    """The weights of a model's own text encoder: float32 copies, or on disk where that is wanted.

    Args:
        names: in the files, by the names of the network.

    Raises:
        CheckpointError: values that are not finite, or not floating-point.
    """
    without_twins = {name: inside for name, inside in names.items() if name != TIED_EMBEDDING or EMBEDDING not in names}
    chosen = {EMBEDDING if name == TIED_EMBEDDING else name: inside for name, inside in without_twins.items()}
    stored = StoredWeights.of(files, chosen) if keeping.text_encoder_on_disk else None
    return stored or HeldWeights({name: _copied(files, inside) for name, inside in chosen.items()})


def _copied(files: TensorFiles, name: str) -> Tensor:
    tensor = files.read(name)
    if not tensor.is_floating_point() or not is_finite(tensor):
        raise CheckpointError(f"{files.path}: {name} holds values that are not finite, or not floating-point")
    return tensor.to(torch.float32, copy=True)
