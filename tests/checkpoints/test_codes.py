"""Codes files."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from descant.checkpoints.codes import HEADER_KEY, CodesHeader, load_codes, save_codes
from descant.config import to_dict
from descant.errors import CheckpointError, ConfigError, InvalidRequest

HEADER = CodesHeader(
    model="tiny",
    codec_fingerprint="0123",
    sample_rate_hz=32_000,
    num_channels=1,
    num_codebooks=4,
    codebook_size=32,
    hop_samples=640,
    num_samples=6_000,
)
CODES = torch.randint(32, (4, 10), generator=torch.Generator().manual_seed(0))


def test_codes_written_and_read_are_the_same_with_their_header(tmp_path):
    save_codes(tmp_path / "a.safetensors", CODES, HEADER)
    codes, header = load_codes(tmp_path / "a.safetensors")
    assert torch.equal(codes, CODES)
    assert codes.dtype == torch.int64
    assert header == HEADER
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


WRONG = {
    "entry too large": (CODES + 32, HEADER),
    "entry negative": (CODES - 32, HEADER),
    "codebook missing": (CODES[:3], HEADER),
    "no frame": (CODES[:, :0], HEADER),
    "too few frames": (CODES[:, :9], HEADER),
    "too many frames": (torch.cat([CODES, CODES], dim=1), HEADER),
}


@pytest.mark.parametrize(("codes", "header"), WRONG.values(), ids=WRONG.keys())
def test_codes_that_contradict_their_header_are_neither_written_nor_read(tmp_path, codes, header):
    with pytest.raises(InvalidRequest):
        save_codes(tmp_path / "a.safetensors", codes, header)
    assert list(tmp_path.iterdir()) == []
    save_file({"codes": codes.contiguous()}, tmp_path / "b.safetensors", {HEADER_KEY: json.dumps(to_dict(header))})
    with pytest.raises(CheckpointError):
        load_codes(tmp_path / "b.safetensors")


@pytest.mark.parametrize("header", ["", "[]", "{}", '{"model": "tiny"}', "[" * 100_000])
def test_an_invalid_header_is_refused(tmp_path, header):
    save_file({"codes": CODES}, tmp_path / "a.safetensors", {HEADER_KEY: header})
    with pytest.raises(CheckpointError):
        load_codes(tmp_path / "a.safetensors")


def test_codes_that_are_no_integers_are_refused(tmp_path):
    save_file({"codes": CODES.float()}, tmp_path / "a.safetensors", {HEADER_KEY: json.dumps(to_dict(HEADER))})
    with pytest.raises(CheckpointError, match="integers"):
        load_codes(tmp_path / "a.safetensors")


def test_the_numbers_of_a_header_are_positive():
    with pytest.raises(ConfigError, match="hop_samples"):
        replace(HEADER, hop_samples=0)
