"""The released weights themselves: ``pytest -m network``. Needs a network and 4 GB of disk for small and the codec."""

import pytest
import torch

from descant import api
from descant.checkpoints import hub, layouts
from descant.generation.request import Guidance, Request, Sampling

pytestmark = pytest.mark.network

SMALL, CODEC = "facebook/musicgen-small", "facebook/encodec_32khz"
# Of "80s music" after the start token, first codebook: transformers' own integration test of these weights.
LOGITS = (
    *(-0.9708, -3.0149, -4.6415, -1.4754, -0.2786, -2.3523, -2.6049, -6.7467),
    *(-1.0206, -3.2984, -3.3968, -1.5108, -1.5786, -3.1493, -1.1503, -0.0545),
)


@pytest.fixture(scope="module")
def small():
    return api.load(SMALL, device="cpu")


@torch.no_grad()
def test_the_logits_of_small_are_the_published_ones(small):
    model = small.model
    inputs = model.inputs(model.prepare([{"text": "80s music"}, {"text": "Club techno"}]), model.span())
    logits = model.lm(torch.full((2, 4, 1), model.lm.special_code), inputs)
    torch.testing.assert_close(logits[0, 0, 0, :16], torch.tensor(LOGITS), rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_released_codec_gives_transformers_codes():
    transformers = pytest.importorskip("transformers", reason="transformers")
    theirs = transformers.EncodecModel.from_pretrained(CODEC).eval()
    ours, _ = layouts.load_codec(hub.find(CODEC))
    wave = 0.3 * torch.randn(1, 1, 32_100, generator=torch.Generator().manual_seed(0))
    encoded = theirs.encode(wave)
    assert torch.equal(ours.encode(wave), encoded.audio_codes[0])
    expected = theirs.decode(encoded.audio_codes, encoded.audio_scales).audio_values
    torch.testing.assert_close(ours.decode(encoded.audio_codes[0]), expected, rtol=0, atol=1e-5)


def test_small_makes_music_that_transformers_makes(small):
    transformers = pytest.importorskip("transformers", reason="transformers")
    theirs = transformers.MusicgenForConditionalGeneration.from_pretrained(SMALL).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(SMALL)(["80s music"], return_tensors="pt")
    wave = theirs.generate(**tokens, do_sample=False, guidance_scale=3.0, max_new_tokens=53)
    request = Request(
        text="80s music", duration_s=1.0, sampling=Sampling(greedy=True), guidance=Guidance(scale=3.0), seed=0
    )
    clip = small.generate(request)
    torch.testing.assert_close(clip.samples, wave[0], rtol=0, atol=1e-4)
