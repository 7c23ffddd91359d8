"""The released shapes themselves, with random weights: slow, and some gigabytes; ``pytest -m slow tests/parity``."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from descant.checkpoints import huggingface
from descant.codec.base import AudioCodec
from descant.model import MusicGenModel

transformers = pytest.importorskip("transformers", reason="transformers")
pytestmark = pytest.mark.slow

TEXTS = ["warm slow piano with drums", "techno"]
SAMPLE_RATE_HZ = 32_000


def close(ours: Tensor, theirs: Tensor) -> None:
    scale = float(theirs.abs().max())
    assert scale > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * scale)


@pytest.fixture(scope="module")
def small(tmp_path_factory, make_tokenizer) -> tuple[Any, MusicGenModel]:
    """transformers' MusicGen small with random weights, and ours read from its folder."""
    torch.manual_seed(0)
    parts = {
        "text_encoder": transformers.T5Config(
            d_model=768, d_kv=64, d_ff=3_072, num_layers=12, num_heads=12, decoder_start_token_id=0
        ),
        "audio_encoder": transformers.EncodecConfig(
            sampling_rate=SAMPLE_RATE_HZ,
            target_bandwidths=[2.2],
            upsampling_ratios=[8, 5, 4, 4],
            num_filters=64,
            codebook_size=2_048,
            use_causal_conv=False,
            use_conv_shortcut=False,
        ),
        "decoder": transformers.MusicgenDecoderConfig(),
    }
    config = transformers.MusicgenConfig(**{name: part.to_dict() for name, part in parts.items()})
    theirs = transformers.MusicgenForConditionalGeneration(config).eval().requires_grad_(False)
    for layer in theirs.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    theirs.generation_config = transformers.GenerationConfig(
        pad_token_id=2_048, bos_token_id=2_048, decoder_start_token_id=2_048
    )
    folder = tmp_path_factory.mktemp("small") / "model"
    theirs.save_pretrained(folder)
    make_tokenizer(folder)
    theirs.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return theirs, huggingface.load_model(folder)


@torch.no_grad()
def test_logits_of_small(small):
    theirs, ours = small
    assert sum(parameter.numel() for parameter in ours.lm.parameters()) + 768 * 1_024 + 1_024 == 420_371_456
    sequence = torch.randint(0, 2_049, (2, 4, 40), generator=torch.Generator().manual_seed(3))
    tokens = theirs.tokenizer(TEXTS, padding=True, return_tensors="pt")
    expected = theirs(**tokens, decoder_input_ids=sequence.flatten(0, 1)).logits.unflatten(0, (2, 4))
    inputs = ours.inputs(ours.prepare([{"text": text} for text in TEXTS]), ours.span())
    close(ours.lm(sequence, inputs), expected)
    cache = ours.lm.new_cache(2, 40, inputs)
    close(torch.cat([ours.lm(step, inputs, cache) for step in sequence.split(1, dim=-1)], dim=2), expected)
    alone = theirs.decoder(input_ids=sequence.flatten(0, 1)).logits.unflatten(0, (2, 4))
    close(ours.lm(sequence), alone)


@torch.no_grad()
@pytest.mark.parametrize("num_samples", [640, 641, 12_345, 64_000])
def test_codes_and_waves_of_the_32_khz_codec(small, num_samples):
    theirs, ours = small[0].audio_encoder, small[1].codec
    assert isinstance(ours, AudioCodec)
    wave = 0.3 * torch.randn(2, 1, num_samples, generator=torch.Generator().manual_seed(num_samples))
    encoded = theirs.encode(wave)
    codes = ours.encode(wave)
    assert torch.equal(codes, encoded.audio_codes[0])
    close(ours.decode(codes), theirs.decode(encoded.audio_codes, encoded.audio_scales).audio_values)


WRITE_LARGE = """
import sys
from pathlib import Path
import torch
from transformers import T5Config, T5EncoderModel
from descant.checkpoints import huggingface, native
from descant.conditioning.encoders.t5 import T5Encoder
from descant.checkpoints import huggingface
from descant.model import MusicGenModel
from descant.presets import large
folder = Path(sys.argv[1])
plain = T5Config(d_model=768, d_kv=64, d_ff=3_072, num_layers=12, num_heads=12)
weights = {name: tensor for name, tensor in T5EncoderModel(plain).state_dict().items()}
encoder = T5Encoder.from_weights(plain.to_dict(), weights, folder / "tokenizer")
with torch.device("meta"):
    model = MusicGenModel(large(), encoder).to_precision(torch.float16)
model.to_empty(device="cpu")
for tensor in (*model.parameters(), *model.buffers()):
    tensor.data.fill_(0.01)
huggingface.save_model(model, folder / "model")
"""
LOAD_LARGE = """
import resource, sys
from pathlib import Path
import torch
from descant.checkpoints import layouts
model = layouts.load_model(Path(sys.argv[1]), dtype=getattr(torch, sys.argv[2]))
weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers(), *model.text.encoder.weights.values()))
assert {p.dtype for p in model.lm.parameters()} == {getattr(torch, sys.argv[2])}
print(weights, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory, make_tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("large")
    make_tokenizer(folder / "tokenizer")
    subprocess.run([sys.executable, "-c", WRITE_LARGE, str(folder)], check=True)
    return folder / "model"


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in kilobytes on Linux")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_large_takes_hardly_more_memory_than_its_weights(large_folder, dtype):
    """The 3.3B model in half precision, the interpreter and its libraries counted in."""
    out = subprocess.run(
        [sys.executable, "-c", LOAD_LARGE, str(large_folder), dtype], check=True, capture_output=True, text=True
    ).stdout
    weights, peak = map(int, out.split())
    assert weights > 6.5e9
    assert peak <= 1.15 * weights, f"{peak / weights:.3f} of its weights"
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0
