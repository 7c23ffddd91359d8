"""Shards: one that is written is read back the same, and a damaged one is refused."""

import json

import pytest
import torch

from descant.data.shards import Shard, StoredClip, read_shard, shard_path, write_shard
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


def test_a_shard_written_then_read_is_the_same(tmp_path):
    codes = torch.randint(0, 2048, (4, 30)).short()
    clips = (
        StoredClip(audio="a\nb é", start_frame=0, num_frames=10),
        StoredClip(audio="c", start_frame=10, num_frames=20),
    )
    write_shard(tmp_path / "a", clips, codes)
    write_shard(tmp_path / "b", clips, codes.clone())
    shard = read_shard(tmp_path / "a")
    assert torch.equal(shard.codes, codes)
    assert shard.clips == clips
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_torn_or_flipped_shard_is_named(tmp_path):
    clip = StoredClip(audio="a", start_frame=0, num_frames=30)
    path = tmp_path / "shard"
    codes = torch.randint(0, 2048, (4, 30)).short()
    write_shard(path, [clip], codes)
    whole = path.read_bytes()
    broken = [whole[:size] for size in range(0, len(whole), 16)]
    for position in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        broken.append(bytes(flipped))
    for content in broken:
        path.write_bytes(content)
        # A flip in the header may hit an unused byte: then the shard is unchanged.
        try:
            shard = read_shard(path)
        except DataError as error:
            assert "shard" in str(error)  # noqa: PT017
        else:
            assert torch.equal(shard.codes, codes)
            assert shard.clips == (clip,)
