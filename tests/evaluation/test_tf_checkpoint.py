import numpy as np
import pytest

from descant.errors import CheckpointError
from descant.evaluation.tf_checkpoint import read_tf_checkpoint

MAGIC = 0xDB4775248B80FB57
VARIABLES = {
    "dense/bias": np.array([1.5, -2.0], np.float32),
    "dense/kernel": np.arange(300, dtype=np.float32).reshape(150, 2),
    "step": np.array(70_000_000_000, np.int64),
}


def varint(value):
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(digits) + bytes([value])


def block(items):
    """A LevelDB block whose keys share what they can, one restart point, and its trailer (uncompressed, no CRC)."""
    body, last = b"", b""
    for key, value in items:
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little"), b"\0" + bytes(4)


def entry(array, offset):
    """A BundleEntryProto: dtype, shape, shard 0 left out as protocol buffers do, offset, size, CRC."""
    dtype = {"float32": 1, "int64": 9}[str(array.dtype)]
    dims = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(n) for n in array.shape))
    return (
        b"\x08" + varint(dtype) + b"\x12" + varint(len(dims)) + dims + b"\x20" + varint(offset)
        + b"\x28" + varint(array.nbytes) + b"\x35" + bytes(4)
    )  # fmt: skip


def write_checkpoint(prefix, variables):
    offset, items, values = 0, [(b"", b"\x08\x01")], b""
    for name, array in variables.items():
        items.append((name.encode(), entry(array, offset)))
        offset, values = offset + array.nbytes, values + array.tobytes()
    table, handles = b"", []
    for key, content in ((items[1][0], items[:2]), (b"z", items[2:])):  # two data blocks
        body, trailer = block(content)
        handles.append((key, varint(len(table)) + varint(len(body))))
        table += body + trailer
    pointers = b""
    for content in ([], handles):  # metaindex, index
        body, trailer = block(content)
        pointers += varint(len(table)) + varint(len(body))
        table += body + trailer
    prefix.with_name(prefix.name + ".index").write_bytes(
        table + pointers.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")
    )
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(values)


def test_a_checkpoint_written_by_hand_gives_its_variables(tmp_path):
    write_checkpoint(tmp_path / "model", VARIABLES)
    read = read_tf_checkpoint(str(tmp_path / "model"))
    assert read.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.index: missing"):
        read_tf_checkpoint(str(tmp_path / "model"))


def test_truncated_values_are_an_error_that_names_the_variable(tmp_path):
    write_checkpoint(tmp_path / "model", VARIABLES)
    data = tmp_path / "model.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="step"):
        read_tf_checkpoint(str(tmp_path / "model"))


@pytest.mark.parametrize("content", [b"", b"no table", bytes(100)], ids=["empty", "short", "zeros"])
def test_a_file_that_is_not_a_table_is_an_error(tmp_path, content):
    write_checkpoint(tmp_path / "model", VARIABLES)
    (tmp_path / "model.index").write_bytes(content)
    with pytest.raises(CheckpointError, match="magic number"):
        read_tf_checkpoint(str(tmp_path / "model"))
