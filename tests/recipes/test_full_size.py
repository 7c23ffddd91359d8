"""The recipes at full size: the paper's settings, and models of the released shapes."""

import pytest
import torch

from descant.codec.encodec import EnCodec
from descant.model import MusicGenModel
from descant.nn.meta import on_meta_device
from descant.training.optim import Cosine
from tests.recipes.conftest import recipe

musicgen = recipe("musicgen")


@pytest.mark.parametrize(
    ("function", "millions"),
    [
        ("config", 420.37),
        ("medium", 1_838.7),
        ("large", 3_257.0),
        ("melody", 1_385.6),
        ("style", 1_385.6),
        ("stereo", 437.2),
    ],
)
def test_a_recipe_starts_a_model_of_the_released_shape(word_hashes, function, millions):
    run = getattr(musicgen, function)()
    with on_meta_device():
        model = MusicGenModel(run.model, word_hashes(768))
    parameters = [*model.lm.parameters(), *model.text.parameters()]
    assert sum(parameter.numel() for parameter in parameters) / 1e6 == pytest.approx(millions, abs=0.1)


def test_the_language_models_have_the_papers_settings():
    """Section 3.1 and 3.2 of arXiv 2306.05284; the stages of text augmentation are those of appendix A.2."""
    run = musicgen.config()
    assert run.trainer.max_steps == 1_000_000
    assert run.data.batches.batch_size * run.trainer.accumulate == 192
    assert run.data.batches.segment_frames == 30 * 50
    assert run.trainer.schedule == Cosine(warmup_steps=4_000)
    optimizer = run.trainer.optimizer
    assert (optimizer.betas, optimizer.weight_decay, run.trainer.clip_norm) == ((0.9, 0.95), 0.1, 1.0)
    assert (optimizer.adaptation, musicgen.medium().trainer.optimizer.adaptation) == ("d-adaptation", None)
    # 0.99 for every tenth update is 0.999 for each.
    assert run.trainer.ema_decay**10 == pytest.approx(0.99, abs=1e-4)
    assert run.task.dropout.probability == 0.2
    captions = run.data.batches.captions
    assert (captions.merge_probability, captions.keep_field_probability) == (0.25, 0.5)
    assert (captions.drop_description_probability, captions.word_dropout) == (0.5, 0.3)
    assert musicgen.melody().model.melody.part == "stems"


def test_the_codec_has_the_papers_losses_and_settings():
    run = recipe("encodec").config()
    with on_meta_device():
        codec = EnCodec(run.codec)
    assert sum(parameter.numel() for parameter in codec.parameters()) / 1e6 == pytest.approx(56.9, abs=0.1)
    task = run.task
    assert task.combine == "balancer"
    weights = (task.wave_weight, task.spectral_weight, task.adversarial_weight, task.feature_weight, task.mel_weight)
    assert weights == (0.1, 2.0, 4.0, 4.0, 0.0)
    assert task.adversarial_from_step == 0
    assert (run.trainer.optimizer.lr, run.trainer.optimizer.betas) == (3e-4, (0.5, 0.9))
    assert (run.batches.segment_s, run.batches.batch_size) == (1.0, 64)
    assert run.trainer.schedule.factor(399_999, 400_000) == 1.0


@pytest.mark.slow
def test_the_codec_takes_a_step_at_full_size(workshop):
    settings = {"batches.batch_size": 1, "validation.batch_size": 1, "validation.segment_s": 1, "trainer.max_steps": 1}
    result = workshop.train("encodec", "full_codec", settings)
    assert result["steps"] == 1
    assert all(torch.tensor(value).isfinite() for value in result.values() if isinstance(value, float))
