"""The tensors of a model folder: their shapes are known before any is read, and they are read one at a time.

Safetensors, whole or in shards, are preferred to pickles, which are read as in `pickles.py`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from descant.checkpoints.config_files import read_json, without_repeats
from descant.checkpoints.keeping import EVERYTHING, Keeping
from descant.checkpoints.keymap import KeyMap, Shape
from descant.checkpoints.pickles import only_tensors, unpickled
from descant.errors import CheckpointError
from descant.nn.finite import is_finite

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
REOPEN_BYTES = 2**25
"""Pages read from a mapped file count as the process's memory until it is closed, so it is reopened after this."""

HEADER_OFFSET = 8
"""The bytes of a safetensors file before its header, which hold the header's length."""
MAX_HEADER_BYTES = 2**22
MAX_TENSORS = 2**15
"""The largest released model has 1,200 tensors, described in 200 kB; a thousand layers would have twelve times as many.
Longer headers are refused before they are read: parsing 80 MB of names takes Python a minute and gigabytes."""


class TensorFiles:
    """The tensors of one or more files, by name.

    Args:
        path: the folder or file that messages name.
    """

    def __init__(self, path: Path, files: Sequence["MappedFile | HeldTensors"]) -> None:
        self.path = path
        self.shapes: dict[str, Shape] = {}
        self._file_of: dict[str, MappedFile | HeldTensors] = {}
        for file in files:
            self.shapes |= file.shapes
            self._file_of |= dict.fromkeys(file.shapes, file)

    @classmethod
    def load(cls, folder: Path) -> "TensorFiles":
        """All tensors of a folder.

        Raises:
            CheckpointError: there are none, a file is missing or broken, or an index disagrees with its shards.
        """
        files = []
        for path, indexed in _files_of(folder).items():
            is_pickle = path.suffix == ".bin"
            file = HeldTensors(only_tensors(unpickled(path), path)) if is_pickle else MappedFile(path)
            if indexed is not None and indexed != set(file.shapes):
                raise CheckpointError(
                    f"{path}: the index and the file disagree about {sorted(indexed ^ set(file.shapes))[0]}"
                )
            files.append(file)
        return cls(folder, files)

    def path_of(self, name: str) -> Path | None:
        """The safetensors file that a tensor is in; None if it is in another kind of file."""
        file = self._file_of[name]
        return file.path if isinstance(file, MappedFile) else None

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, in its stored precision. Its memory is the file's: copy what is kept."""
        return self._file_of[name].read(name)


class MappedFile:
    """A safetensors file, memory-mapped, and reopened now and then to limit the memory that it takes.

    Raises:
        CheckpointError: it is missing or broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes_read = 0
        check_header(path)
        self._opened = self._open()
        try:
            names = self._opened.keys()
            self.shapes = {name: tuple(self._opened.get_slice(name).get_shape()) for name in names}
        except SafetensorError as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error

    def read(self, name: str) -> Tensor:
        """One tensor; its memory is the file's."""
        if self._bytes_read > REOPEN_BYTES:
            self._opened, self._bytes_read = self._open(), 0
        try:
            tensor: Tensor = self._opened.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise CheckpointError(f"{self.path}: {name}: not readable from this safetensors file ({error})") from error
        self._bytes_read += tensor.nbytes
        return tensor

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path}: not a readable safetensors file ({error})") from error


def begins_as_safetensors(path: Path) -> bool:
    """Whether a file has a JSON object where the header of a safetensors file is.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(HEADER_OFFSET + 1)[HEADER_OFFSET:] == b"{"


def check_header(path: Path) -> None:
    """Refuses a safetensors file whose header is too long or has a name twice (the library would take the last one).

    Raises:
        CheckpointError: it is such a file, or not a safetensors file.
    """
    try:
        if not begins_as_safetensors(path):
            raise ValueError("it is another kind of file")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_OFFSET), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"its header claims {length} bytes; at most {MAX_HEADER_BYTES} are read")
            header = json.loads(file.read(length), object_pairs_hook=without_repeats)
        if len(header) > MAX_TENSORS:
            raise ValueError(f"it claims {len(header)} tensors; at most {MAX_TENSORS} are read")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


class HeldTensors:
    """Tensors that exist already, such as those of a memory-mapped pickle."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def read(self, name: str) -> Tensor:
        """One tensor, not copied."""
        return self._tensors[name]


def read_tensors(
    files: TensorFiles,
    plan: Mapping[str, tuple[str, ...]],
    expected: Mapping[str, Tensor],
    device: torch.device,
    keeping: Keeping = EVERYTHING,
) -> dict[str, Tensor]:
    """Our tensors from a plan of ``KeyMap.plan``, each copied once, directly to its device and precision.

    Args:
        expected: our tensors on the meta device, in the target precision.

    Raises:
        CheckpointError: values that are not finite, or of another kind of type.
    """
    tensors = {}
    for name, like in expected.items():
        parts = [files.read(part) for part in plan[name]]
        for part, tensor in zip(plan[name], parts, strict=True):
            if tensor.is_floating_point() != like.is_floating_point():
                raise CheckpointError(f"{files.path}: {part} is stored as {tensor.dtype}, which is not {like.dtype}")
        # Filled part by part: temporaries of large tensors would fragment the memory.
        value = torch.zeros(like.shape, dtype=like.dtype, device=device)
        places = value.chunk(len(parts)) if len(parts) > 1 else [value][: len(parts)]
        for place, tensor in zip(places, parts, strict=True):
            place.copy_(tensor)
        if not is_finite(value):
            raise CheckpointError(f"{files.path}: {' + '.join(plan[name])} holds values that are not finite")
        tensors[name] = keeping.keep(name, value)
    return tensors


def planned(keys: KeyMap, files: TensorFiles, expected: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """The names to read for each of our tensors; no tensor of the file may be left over."""
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    return keys.plan(shapes, files.shapes, str(files.path))


def has_weights(folder: Path) -> bool:
    """Whether a folder has files with tensors, or an index of them."""
    return any((folder / f"{name}{end}").exists() for name in (SAFETENSORS, PICKLE) for end in ("", ".index.json"))


def _files_of(folder: Path) -> dict[Path, set[str] | None]:
    """The files with tensors and, if there is an index, the names in each."""
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return {folder / name: None}
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index, Path(name).suffix)
    raise CheckpointError(f"{folder}: neither {SAFETENSORS} nor {PICKLE}, nor shards of one with an index, is there")


def _shards(index: Path, suffix: str) -> dict[Path, set[str] | None]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: has no weight_map from tensors to shards")
    shards: dict[Path, set[str] | None] = {}
    for tensor, name in weight_map.items():
        # A name in a file must not lead out of the folder.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(suffix):
            raise CheckpointError(f"{index}: {name!r:.80} is not a {suffix} file of this folder")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent / name} is missing: the index names it")
        held = shards.setdefault(index.parent / name, set())
        assert held is not None
        held.add(tensor)
    return shards
