"""The tensors of a foreign model folder, told by shape before any is read, and read one at a time.

Safetensors, whole or in shards, come first; pickles are read only by torch's ``weights_only`` unpickler, which makes
tensors and plain containers and calls nothing else.
"""

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from descant.checkpoints.keymap import KeyMap, Shape
from descant.errors import CheckpointError, ConfigError

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
REOPEN_BYTES = 2**26
"""What is read from a mapped file counts as the process's memory until the file is closed."""

LONGEST_JSON = 2**22
LONGEST_HEADER = 2**22
MOST_TENSORS = 2**15
LONGEST_PICKLE = 2**21
"""The largest released model has 1,200 tensors, described in 200 kB; a thousand layers would have twelve times as many.
Longer ones are refused before they are read: Python takes a minute and gigabytes for what 80 MB of names hold."""

MOST_NAMES = 4
"""A tied weight is stored once under several names, but no weight has more than this."""


class TensorFiles:
    """All tensors of a folder, by name.

    Raises:
        CheckpointError: there are none, a file is missing or broken, or an index does not tell what its shards hold.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, Shape] = {}
        self._file_of: dict[str, MappedFile | HeldTensors] = {}
        for path, told in _files_of(folder).items():
            is_pickle = path.suffix == ".bin"
            file = HeldTensors(only_tensors(unpickled(path), path)) if is_pickle else MappedFile(path)
            if told is not None and told != set(file.shapes):
                odd = sorted(told ^ set(file.shapes))[0]
                raise CheckpointError(f"{path}: the index and the file disagree about {odd}")
            self.shapes |= file.shapes
            self._file_of |= dict.fromkeys(file.shapes, file)

    @classmethod
    def loaded(cls, file: Path, tensors: Mapping[str, Tensor]) -> "TensorFiles":
        """Tensors that some file held, as if they were all of a folder."""
        files = object.__new__(cls)
        held = HeldTensors(tensors)
        files.folder, files.shapes, files._file_of = file, held.shapes, dict.fromkeys(tensors, held)
        return files

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, in the precision it is stored in. Its memory is the file's: copy what is kept."""
        return self._file_of[name].read(name)


class MappedFile:
    """A safetensors file, mapped into memory and opened anew now and then, so that little of it is held at a time.

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


def check_header(path: Path) -> None:
    """Makes sure that a safetensors file has a header of bearable length, in which no name is there twice: of two the
    library takes the last and says nothing.

    Raises:
        CheckpointError: it has not.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST_HEADER:
                raise ValueError(f"its header claims {length} bytes; at most {LONGEST_HEADER} are read")
            header = json.loads(file.read(length), object_pairs_hook=_without_repeats)
        if len(header) > MOST_TENSORS:
            raise ValueError(f"it claims {len(header)} tensors; at most {MOST_TENSORS} are read")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


class HeldTensors:
    """Tensors that are there already, such as those of a pickle mapped into memory."""

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
) -> dict[str, Tensor]:
    """Our tensors from a plan of ``KeyMap.plan``, each copied once, straight to where and what it is to be.

    Args:
        expected: our tensors without memory, in the precision that is wanted.

    Raises:
        CheckpointError: values that are no numbers, or no floating-point numbers.
    """
    tensors = {}
    for name, like in expected.items():
        parts = [files.read(part) for part in plan[name]]
        for part, tensor in zip(plan[name], parts, strict=True):
            if tensor.is_floating_point() != like.is_floating_point():
                raise CheckpointError(f"{files.folder}: {part} is stored as {tensor.dtype}, which is no {like.dtype}")
        # Filled part by part: temporaries of large tensors would leave holes in the memory of what is kept.
        value = torch.zeros(like.shape, dtype=like.dtype, device=device)
        places = value.chunk(len(parts)) if len(parts) > 1 else [value][: len(parts)]
        for place, tensor in zip(places, parts, strict=True):
            place.copy_(tensor)
        if not is_finite(value):
            raise CheckpointError(f"{files.folder}: {' + '.join(plan[name])} holds values that are no numbers")
        tensors[name] = value
    return tensors


def is_finite(tensor: Tensor) -> bool:
    """Whether all its values are numbers; looked through in pieces, for the answer is as large as the question."""
    return all(bool(torch.isfinite(piece).all()) for piece in tensor.flatten().split(2**20))


def planned(keys: KeyMap, files: TensorFiles, expected: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """What to read for each of our tensors; the whole folder must be used up by it."""
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    return keys.plan(shapes, files.shapes, str(files.folder))


def unpickled(file: Path) -> dict[str, Any]:
    """What a pickle of a dict holds, read without running anything; the memory of its tensors is the file's.

    Raises:
        CheckpointError: it is no such file, or asks for more than tensors and plain containers.
    """
    _check_archive(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a spoilt pickle fails in as many ways as it has bytes
        first = str(error).split("\n")[0][:200]
        raise CheckpointError(f"{file}: not a pickle of tensors alone, which is all that is read ({first})") from error
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file}: holds a {type(content).__name__} where tensors by name are needed")
    return content


def _check_archive(file: Path) -> None:
    """Compares all that torch's archive holds with the checksums it carries: a mapped file is read without that.

    Raises:
        CheckpointError: it is no such archive, or damaged.
    """
    try:
        with _Frugal(io.FileIO(file)) as content, zipfile.ZipFile(content) as archive:
            # torch packs nothing; what is packed could unpack to any size.
            is_plain = all(record.compress_type == zipfile.ZIP_STORED for record in archive.infolist())
            longest = max((r.file_size for r in archive.infolist() if r.filename.endswith("data.pkl")), default=0)
            if longest > LONGEST_PICKLE:
                raise ValueError(f"its pickle has {longest} bytes; at most {LONGEST_PICKLE} are read")
            damaged = archive.testzip() if is_plain else None
    except Exception as error:  # as with pickles
        raise CheckpointError(f"{file}: not a pickle in torch's archive ({error})") from error
    if not is_plain or damaged is not None:
        what = "has packed records, which torch never writes" if damaged is None else f"{damaged} is damaged"
        raise CheckpointError(f"{file}: {what}; fetch the file again")


class _Frugal(io.BufferedReader):
    """A file that is never read in large pieces, as Python reads a zip archive's directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > LONGEST_HEADER:
            raise ValueError(f"its directory has {wanted} bytes; at most {LONGEST_HEADER} are read")
        return super().read(wanted)


def only_tensors(content: Any, file: Path) -> dict[str, Tensor]:
    """The same, made sure that it is a dict of plain tensors, none larger than what the file has for it.

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
            raise CheckpointError(f"{file}: {shown} is no plain tensor")
        claimed_bytes += tensor.nbytes
        # A stride of zero turns one stored value into any number of them.
        if tensor.nbytes > tensor.untyped_storage().nbytes() or claimed_bytes > MOST_NAMES * file.stat().st_size:
            raise CheckpointError(f"{file}: {name!r:.80} claims more values than the file holds")
    return content


@contextmanager
def faults_of(where: Path) -> Iterator[None]:
    """What a stored config contradicts itself in, or asks for that no memory can address, is a fault of its file."""
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error
    except (RuntimeError, OverflowError, TypeError) as error:  # torch's words for sizes that nothing can address
        told = str(error).split("\n")[0][:200]
        raise CheckpointError(f"{where}: no model can be made of its config ({told})") from error


def write_json(data: Mapping[str, Any], file: Path) -> None:
    """Writes what ``read_json`` reads."""
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """What a JSON file says.

    Raises:
        CheckpointError: it is missing, or no JSON object.
    """
    # What is no plain file may never end, or never begin: a device, a pipe.
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a model folder needs it")
    if file.stat().st_size > LONGEST_JSON:
        raise CheckpointError(f"{file}: {file.stat().st_size} bytes are no config; it may have {LONGEST_JSON}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a JSON file ({error})") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file}: expected an object, got {type(data).__name__}")
    return data


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two values for one key nobody can tell which is meant."""
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError("an object has one key twice")
    return plain


def has_weights(folder: Path) -> bool:
    """Whether files with tensors are there, or an index of some."""
    return any((folder / f"{name}{end}").exists() for name in (SAFETENSORS, PICKLE) for end in ("", ".index.json"))


def _files_of(folder: Path) -> dict[Path, set[str] | None]:
    """The files with tensors and, where there is an index, the names it puts into each."""
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
        raise CheckpointError(f"{index}: has no weight_map that tells which shard holds which tensor")
    shards: dict[Path, set[str] | None] = {}
    for tensor, name in weight_map.items():
        # A name from a file must not lead out of the folder.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(suffix):
            raise CheckpointError(f"{index}: {name!r:.80} is no {suffix} file of this folder")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent / name} is missing: the index names it")
        held = shards.setdefault(index.parent / name, set())
        assert held is not None
        held.add(tensor)
    return shards
