"""The starter's predictions at each precision: those of training if nothing is rounded, worse the coarser it is."""

import pytest
import torch

from descant import api
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch
from descant.generation.runtimes.native import session
from descant.studies.rounding import cross_entropies, logits_after_codes, relative_error
from descant.training.lm import LMTask, LMTaskConfig

TEXTS = ["fast techno with drums, 130 bpm", "solo harp"]
BEATS = torch.tensor([0.5, 0.0])
CODES = torch.randint(1_024, (2, 4, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def starter():
    return api.load("starter", device="cpu")


def test_the_runtime_predicts_clips_as_training_does(starter, monkeypatch):
    monkeypatch.setattr(session, "cache_format_for", lambda _: "fp32")
    clip = TokenizedClip(id="a", split="valid", start_frame=0, num_frames=12)
    rows = [{"text": text} for text in TEXTS]
    batch = TokenBatch(CODES, rows, torch.ones(2, 12, dtype=torch.bool), [clip] * 2, BEATS)
    validated = LMTask(starter.model, LMTaskConfig(), [batch]).validate()
    expected = torch.tensor([validated[f"ce_q{codebook}"] for codebook in range(4)])
    found = cross_entropies(starter, CODES, TEXTS, BEATS)
    torch.testing.assert_close(found.mean(dim=0), expected, rtol=0, atol=1e-4)


def test_caption_and_beat_change_the_predictions(starter):
    own = cross_entropies(starter, CODES, TEXTS, BEATS)
    other_text = cross_entropies(starter, CODES, TEXTS[::-1], BEATS)
    other_beat = cross_entropies(starter, CODES, TEXTS, torch.zeros(2))
    assert (own - other_text).abs().min() > 1e-3
    assert ((own - other_beat).abs().mean(dim=1) > 1e-2).tolist() == [True, False]


def test_four_bits_err_more_than_eight(starter):
    exact = logits_after_codes(starter, CODES, TEXTS)
    errors = {}
    for precision in ("fp32", "int8", "int4"):
        rounded = api.load("starter", device="cpu", precision=precision)
        errors[precision] = relative_error(logits_after_codes(rounded, CODES, TEXTS), exact)
    assert errors["fp32"] == 0
    assert errors["int8"] < 0.1
    assert errors["int8"] < errors["int4"] < 0.5
