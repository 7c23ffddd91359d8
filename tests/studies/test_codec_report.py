import json
from shutil import which

import pytest
import torch
from einops import rearrange
from torch import nn

from descant.audio import Clip
from descant.codec.base import AudioCodec
from descant.errors import InvalidRequest
from descant.evaluation.report import write_report_json
from descant.nn.stream import Each
from descant.studies.codec_report import codec_markdown, measure_codec

needs_opus = pytest.mark.skipif(
    not (which("opusenc") and which("opusdec")), reason="opus-tools (opusenc, opusdec) are not installed"
)


class PCM(AudioCodec):
    """Plain eight-bit samples as a codec: four of them are a frame."""

    sample_rate_hz, num_channels, num_codebooks, codebook_size, hop_samples = 16_000, 1, 4, 256, 4

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, wave):
        return rearrange(((wave + 1) * 127.5).round().long().clamp(0, 255), "B 1 (T K) -> B K T", K=4)

    def decode(self, codes):
        return rearrange(codes / 127.5 - 1, "B K T -> B 1 (T K)")

    def encoding_stage(self):
        return Each(self.encode)

    def decoding_stage(self):
        return Each(self.decode)

    def forward(self, wave):  # noqa: ARG002
        raise AssertionError("nothing is trained here")

    def freeze_encoder(self):
        raise AssertionError("nothing is trained here")


@pytest.fixture(scope="module")
def clips():
    generator = torch.Generator().manual_seed(0)
    notes = torch.randn(3, 1, 8_000, generator=generator).cumsum(dim=-1)
    notes = 0.5 * notes / notes.abs().amax(dim=-1, keepdim=True)
    return [Clip(samples=samples, sample_rate_hz=16_000) for samples in notes]


@needs_opus
def test_eight_bit_samples_are_nearer_than_six_kilobits_of_opus(clips, tmp_path):
    measured = measure_codec(PCM(), clips)
    assert measured["kilobits_per_second"] == 128
    assert measured["ours"]["si_sdr_db"].value > 30 > measured["opus"]["si_sdr_db"].value
    assert measured["ours_minus_opus"]["log_mel_db"].high < 0
    assert len(measured["codebooks"]) == 4
    assert "| 3 |" in codec_markdown(measured)
    write_report_json(measured, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["ours"]["si_sdr_db"]["count"] == 3


def test_clips_of_another_rate_are_refused(clips):
    with pytest.raises(InvalidRequest, match="at 16000 Hz; resample"):
        measure_codec(PCM(), [clips[0].resample(8_000)])


def test_no_clips_are_refused():
    with pytest.raises(InvalidRequest, match="no clips"):
        measure_codec(PCM(), [])
