"""The released codec's exact shape, on ten minutes in under 1.5 GB: slow; ``pytest -m slow tests/codec``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from descant.audio import Clip
from descant.checkpoints.native import save_model
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.conditioning.text import SmallText
from descant.lm.model import LMConfig
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.rvq import VectorQuantizer
from descant.nn.transformer import TransformerConfig
from descant.patterns import delay

pytestmark = pytest.mark.slow

RATE_HZ = 32_000
MOST_BYTES = 1.5e9
RUN = """
import resource, sys
from descant.apps.cli.main import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
sys.exit(code)
"""


def with_random_codebooks(module: torch.nn.Module) -> None:
    for level in module.modules():
        if isinstance(level, VectorQuantizer):
            level.codebook.normal_(std=0.1)
            level.is_initialized.fill_(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, word_hashes) -> Path:
    """A model with the released codec's shape and hardly any language model."""
    torch.manual_seed(0)
    config = MusicGenConfig(
        codec=EnCodecConfig(),
        lm=LMConfig(transformer=TransformerConfig(width=16, num_heads=2, num_layers=1)),
        pattern=delay(4),
        text=SmallText(),
    )
    model = MusicGenModel(config, word_hashes(config.text.dim)).eval().requires_grad_(False)
    with_random_codebooks(model)
    save_model(model, tmp_path_factory.mktemp("long") / "model")
    return tmp_path_factory.getbasetemp() / "long0" / "model"


def peak_of(*words: str | Path) -> tuple[dict, int]:
    """What a command prints, and the most memory that its process held."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, check=False, timeout=3_000
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), int(done.stderr.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in kilobytes on Linux")
def test_ten_minutes_there_and_back_take_no_more_memory_than_ten_seconds_need(folder, tmp_path):
    noise = 0.1 * torch.randn(2, 600 * 44_100, generator=torch.Generator().manual_seed(0))
    Clip(noise, 44_100).save(tmp_path / "long.wav")
    del noise
    codes = tmp_path / "long.safetensors"
    found, encoding = peak_of("encode", tmp_path / "long.wav", "-o", codes, "--model", folder, "--json")
    assert found["num_frames"] == 30_000
    found, decoding = peak_of("decode", codes, "-o", tmp_path / "back.wav", "--model", folder, "--json")
    assert found["duration_s"] == 600
    print(f"encode {encoding / 1e9:.2f} GB, decode {decoding / 1e9:.2f} GB")
    assert max(encoding, decoding) < MOST_BYTES


@torch.no_grad()
def test_a_clip_of_twelve_seconds_is_the_same_in_chunks_and_as_a_whole():
    torch.manual_seed(0)
    codec = EnCodec(EnCodecConfig()).eval()
    with_random_codebooks(codec)
    wave = 0.1 * torch.randn(1, 1, 12 * RATE_HZ + 123)
    whole = codec.encode(wave)
    assert (codec.encode_in_chunks(wave) != whole).float().mean() < 1e-3
    decoded = codec.decode(whole)
    scale = float(decoded.abs().max())
    assert scale > 1e-3
    torch.testing.assert_close(codec.decode_in_chunks(whole), decoded, rtol=0, atol=codec.chunk_tolerance * scale)
