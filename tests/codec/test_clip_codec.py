"""The codec for clips: any rate and number of channels, and codes of every integer type."""

import numpy as np
import pytest
import torch

from descant import Clip, InvalidRequest, MusicGen


@pytest.fixture(scope="module")
def music(tiny_model) -> MusicGen:
    return MusicGen(tiny_model, "tiny")


def test_clips_of_any_rate_and_channels_are_coded_and_decoded(music):
    clip = Clip(0.3 * torch.randn(2, 2_205).clamp(-1, 1), 22_050)
    codes = music.codec.encode(clip)
    assert codes.shape == (4, 5)
    decoded = music.codec.decode(codes)
    assert decoded.samples.shape == (1, 3_200)
    assert decoded.sample_rate_hz == 32_000
    assert torch.equal(decoded.codes, codes)
    torch.nn.Embedding(32, 2)(codes).sum().backward()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [np.int64, np.uint16, torch.uint8, torch.int32])
def test_codes_may_be_arrays_and_of_any_width(music, kind):
    codes = torch.arange(20).reshape(4, 5)
    given = codes.numpy().astype(kind) if isinstance(kind, type) else codes.to(kind)
    assert torch.equal(music.codec.decode(given).samples, music.codec.decode(codes).samples)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [np.zeros(100), torch.zeros(1, 100), "in.wav", None], ids=type)
def test_only_clips_are_coded(music, given):
    with pytest.raises(InvalidRequest, match=r"expected a Clip; Clip\(samples"):
        music.codec.encode(given)


@pytest.mark.parametrize(
    "codes",
    [torch.zeros(3, 5), torch.zeros(4, 0), torch.full((4, 5), 32), torch.full((4, 5), -1)],
    ids=["few", "none", "high", "low"],
)
def test_codes_of_another_codec_are_refused(music, codes):
    with pytest.raises(InvalidRequest, match="this codec"):
        music.codec.decode(codes.long())
