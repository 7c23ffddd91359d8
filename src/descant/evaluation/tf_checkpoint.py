"""Reads TensorFlow 1 checkpoints with numpy: names, shapes and values of the variables. Nothing is executed.

A checkpoint with prefix P has two files. ``P.data-00000-of-00001`` contains the concatenated values. ``P.index`` is a
sorted string table in LevelDB's format (github.com/google/leveldb, doc/table_format.md)::

    data blocks ... | metaindex block | index block | footer: two block handles, padding, 8 magic bytes

whose keys are the variables' names and whose values are the protocol buffer ``BundleEntryProto``
(tensorflow/core/protobuf/tensor_bundle.proto). The empty key is the header.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.errors import CheckpointError

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_UNCOMPRESSED = 0
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
"""TensorFlow's numbers for the data types of weights (tensorflow/core/framework/types.proto)."""


@dataclass(frozen=True)
class _Entry:
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def read_tf_checkpoint(prefix: str) -> dict[str, np.ndarray]:
    """The variables of a checkpoint by name; ``prefix`` is a path such as ``model.ckpt``, which is not a file itself.

    Raises:
        CheckpointError: a file is missing, truncated, compressed, in several shards, or has an unknown data type.
    """
    index, data = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    for file in (index, data):
        if not file.is_file():
            raise CheckpointError(f"{file}: missing; a TensorFlow checkpoint of one shard has this file")
    table, values = index.read_bytes(), data.read_bytes()
    try:
        entries = {key.decode(): _entry(value) for key, value in _table_items(table) if key}
    except (IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{index}: truncated or not a TensorFlow checkpoint ({error})") from error
    return {name: _array(name, entry, values, data) for name, entry in entries.items()}


def _array(name: str, entry: _Entry, values: bytes, file: Path) -> np.ndarray:
    if entry.dtype not in _DTYPES or entry.shard != 0:
        raise CheckpointError(f"{file}: {name} has type {entry.dtype} in shard {entry.shard}; known are {_DTYPES} in 0")
    dtype = np.dtype(_DTYPES[entry.dtype])
    end = entry.offset + entry.size
    if end > len(values) or entry.size != math.prod(entry.shape) * dtype.itemsize:
        raise CheckpointError(f"{file}: {name} {entry.shape} should be bytes {entry.offset} to {end} of {len(values)}")
    return np.frombuffer(values[entry.offset : end], dtype).reshape(entry.shape).copy()


def _table_items(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted string table, in order."""
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise CheckpointError("not a sorted string table: the magic number at its end is missing")
    position = _handle(footer, 0)[2]  # the first handle is the metaindex block's, which is empty
    offset, size, _ = _handle(footer, position)
    for _, value in _block_items(table, offset, size):
        block_offset, block_size, _ = _handle(value, 0)
        yield from _block_items(table, block_offset, block_size)


def _block_items(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of one block; a key is stored as the length of the prefix shared with the previous key, and the rest."""
    if table[offset + size] != _UNCOMPRESSED:
        raise CheckpointError(f"the block at byte {offset} is compressed; TensorFlow writes these tables uncompressed")
    block = table[offset : offset + size]
    num_restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * num_restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Offset and size of a block, and the position after the handle."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return offset, size, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A base-128 integer, least significant digits first, and the position after it."""
    value, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _entry(message: bytes) -> _Entry:
    fields = dict(_fields(message))
    shape = tuple(
        int(dict(_fields(dimension)).get(1, 0)) for number, dimension in _fields(fields.get(2, b"")) if number == 2
    )
    return _Entry(fields.get(1, 0), shape, fields.get(3, 0), fields.get(4, 0), fields.get(5, 0))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protocol buffer; nested messages are bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
        elif wire_type == 2:
            length, position = _varint(message, position)
            yield number, message[position : position + length]
            position += length
        else:
            length = {1: 8, 5: 4}[wire_type]
            yield number, message[position : position + length]
            position += length
