"""Shards: what a damaged one says."""

import json

import pytest

from descant.data.shards import Shard, shard_path
from descant.errors import DataError


def _header(**changes):
    codes = {"dtype": "I16", "shape": [2, 3], "data_offsets": [0, 12]}
    return {"__metadata__": {"descant": json.dumps({"clips": "[]", "sha256": ""})}, "codes": {**codes, **changes}}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (_header(), None),
        (_header(dtype="F16"), "16-bit"),
        (_header(shape=[2, 4]), "as long as"),
        (_header(shape=[2, 4], data_offsets=[0, 16]), "as long as"),
        (_header(shape=[2, 2], data_offsets=[0, 8]), "as long as"),
        (_header(shape=[6]), "values to unpack"),
        (_header(shape="ab"), "whole numbers"),
        (_header(shape=[-2, -3]), "whole numbers"),
        (_header(shape=[2.0, 3]), "whole numbers"),
        ([_header()], "delete it"),
        ({"__metadata__": {}}, "codes"),
    ],
)
def test_a_shard_whose_header_is_not_that_of_its_codes_is_refused(tmp_path, header, reason):
    content = json.dumps(header).encode()
    path = shard_path(tmp_path, 0)
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(12))
    if reason is None:
        assert (Shard(path).num_codebooks, Shard(path).num_frames, Shard(path).clips) == (2, 3, ())
        return
    with pytest.raises(DataError, match=f"damaged.*{reason}"):
        Shard(path)


@pytest.mark.parametrize("length", [2**20, 2**63])
@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_shard_without_a_header_is_refused(tmp_path, length, size):
    path = shard_path(tmp_path, 0)
    path.write_bytes((length.to_bytes(8, "little") + b"{}")[:size])
    with pytest.raises(DataError, match="missing or damaged"):
        Shard(path)
