"""The EnCodec for a processor: its codebooks learn from batches with fewer frames than they have entries, and it may be
trained without a discriminator.
"""

import json
from dataclasses import replace

import torch

from descant.checkpoints.native import load_codec
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig
from tests.recipes.conftest import TOY_CODEC, recipe

NUM_CENTRES, NUM_FRAMES = 40, 24
SMALL = {"dim": 16, "codebook_dim": 16, "codebook_size": 64, "num_codebooks": 1, "unquantized_batches": 5}


def error_after_training(config: RVQConfig) -> float:
    """The mean square that rounding takes from vectors near forty points, after 200 batches of 24 of them."""
    torch.manual_seed(0)
    quantizer = ResidualVectorQuantizer(config).train()
    centres = torch.randn(NUM_CENTRES, config.dim)

    def vectors(count: int) -> torch.Tensor:
        near = centres[torch.randint(NUM_CENTRES, (count,))] + 0.1 * torch.randn(count, config.dim)
        return near.T[None]

    for _ in range(200):
        quantizer(vectors(NUM_FRAMES))
    held_out = vectors(2_000)
    return float((quantizer.eval()(held_out).latents - held_out).square().mean())


def test_codebooks_of_the_narrow_codec_learn_from_small_batches():
    """Every entry counted as dead in every batch and was drawn anew: it never learned anything."""
    narrow = replace(recipe("encodec").narrow().codec.quantizer, **SMALL)
    paper = replace(narrow, dead_code_threshold=2.0, dead_code_relative=False)
    assert error_after_training(narrow) < 0.05
    assert error_after_training(paper) > 0.3


def test_the_narrow_codec_begins_without_rounding():
    """Its codebooks used two entries each after a hundred updates."""
    quantizer = ResidualVectorQuantizer(recipe("encodec").narrow().codec.quantizer).train()
    latents = torch.randn(1, 128, 8)
    assert torch.equal(quantizer(latents).latents, latents)
    assert not torch.equal(quantizer.eval()(latents).latents, latents)


def test_the_narrow_codec_is_trained_with_and_without_a_discriminator(workshop):
    settings = {**TOY_CODEC, "codec.unquantized_batches": 1, "task.spectral_from_step": 1, "trainer.max_steps": 3}
    workshop.train("encodec:narrow", "narrow", {**settings, "task.adversarial_from_step": None})
    workshop.train("encodec:narrow", "joined", {**settings, "task.adversarial_from_step": 1})
    lines = [
        [json.loads(line) for line in (workshop.folder / run / "log.jsonl").read_text().splitlines()]
        for run in ("narrow", "joined")
    ]
    assert [any("discriminator" in line for line in log) for log in lines] == [False, True]
    alone, joined = (load_codec(workshop.folder / run / "codec")[0].state_dict() for run in ("narrow", "joined"))
    assert any(not torch.equal(alone[name], joined[name]) for name in alone if name.startswith("decoder."))
