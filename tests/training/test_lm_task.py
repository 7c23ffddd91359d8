import pytest
import torch

from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.base import TextEncoder
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.dropout import ConditionDropout
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError
from descant.lm.model import LMConfig
from descant.model import MusicGenConfig, MusicGenModel, SmallText
from descant.nn.rvq import RVQConfig
from descant.nn.transformer import TransformerConfig
from descant.patterns import Delay
from descant.training.lm import LMTask, LMTaskConfig, other_caption
from descant.training.task import StepContext
from descant.training.trainer import Trainer


class LetterEncoder(TextEncoder):
    """Every letter is a fixed vector."""

    dim = 8
    device = torch.device("cpu")

    def to(self, device):
        del device
        return self

    def states(self, text):
        return torch.stack([torch.sin(ord(letter) * torch.arange(1, 9.0)) for letter in text])


class Jingles:
    """Clips whose codes follow from their caption's letter; the last frames of one clip are missing."""

    def batch(self, step):
        generator = torch.Generator().manual_seed(step)
        letters = torch.randint(0, 4, (4,), generator=generator)
        codes = (letters[:, None, None] + torch.arange(3)[:, None] + torch.arange(12)) % 8
        mask = torch.ones(4, 12, dtype=torch.bool)
        mask[0, 9:] = False
        return TokenBatch(codes * mask[:, None], ["abcd"[letter] for letter in letters], mask, [])


def tiny_task(melody=None, **changes):
    torch.manual_seed(2)
    quantizer = RVQConfig(dim=8, codebook_dim=8, num_codebooks=3, codebook_size=8)
    config = MusicGenConfig(
        codec=SpectralCodecConfig(encoder_width=8, decoder_width=8, quantizer=quantizer),
        lm=LMConfig(
            num_codebooks=3,
            codebook_size=8,
            transformer=TransformerConfig(width=16, num_heads=2, num_layers=2, dropout=0.1),
        ),
        pattern=Delay(delays=(0, 1, 2)),
        text=SmallText(dim=8),
        melody=melody,
    )
    model = MusicGenModel(config, LetterEncoder())
    return LMTask(model, LMTaskConfig(**changes), [Jingles().batch(1_000), Jingles().batch(1_001)])


def trainer_of(toy, task, folder, **changes):
    return Trainer(task, Jingles(), toy.config(**{"max_steps": 9, "save_every": 4, **changes}), folder)


def test_a_language_model_with_dropout_resumes_with_the_same_bits(toy, tmp_path):
    whole = trainer_of(toy, tiny_task(), tmp_path / "whole")
    whole.run()
    for minutes in (1e-9, 1e-9, None):
        last = trainer_of(toy, tiny_task(), tmp_path / "parts", max_minutes=minutes)
        last.run(resume=True)
    assert toy.same_bits(toy.weights(last), toy.weights(whole))


def test_a_model_that_hears_its_captions_has_a_caption_gain(toy, tmp_path):
    result = trainer_of(toy, tiny_task(), tmp_path, max_steps=60, save_every=60, validate_every=60).run()
    metrics = result.metrics
    assert metrics.keys() >= {"ce", "ce_q0", "ce_q1", "ce_q2", "caption_gain"}
    assert metrics["ce"] < 1.0
    assert 0 < metrics["caption_gain_low"] < metrics["caption_gain"] < metrics["caption_gain_high"]


def test_codes_after_a_clips_end_have_no_part_in_the_loss():
    task = tiny_task(dropout=ConditionDropout(probability=0.0))
    task.trained.eval()
    batch = Jingles().batch(0)
    noisy = TokenBatch(
        torch.where(batch.frame_mask[:, None], batch.codes, 5), batch.captions, batch.frame_mask, batch.clips
    )
    losses = [task.loss("lm", one, StepContext(0, torch.Generator(), {}))[0] for one in (batch, noisy)]
    assert losses[0] == losses[1]


def test_only_the_language_model_and_its_text_conditioner_learn():
    names = tiny_task().parameters()["lm"]
    assert {name.split(".")[0] for name in names} == {"lm", "text"}


def test_with_every_condition_dropped_captions_change_nothing():
    task = tiny_task(dropout=ConditionDropout(probability=1.0))
    task.trained.eval()
    batch = Jingles().batch(0)
    other = TokenBatch(batch.codes, ["z"] * 4, batch.frame_mask, batch.clips)
    losses = [task.loss("lm", one, StepContext(0, torch.Generator(), {}))[0] for one in (batch, other)]
    assert losses[0] == losses[1]


def test_a_weighted_codebook_alone_is_the_loss():
    task = tiny_task(codebook_weights=(0.0, 2.0, 0.0))
    loss, metrics = task.loss("lm", Jingles().batch(0), StepContext(0, torch.Generator(), {}))
    torch.testing.assert_close(loss, metrics["ce_q1"])


def test_the_other_caption_is_another_clips_and_differs():
    captions = ["a", "a", None, "b", "a", "c"]
    others = [other_caption(captions, index) for index in range(6)]
    assert others == ["b", "c", None, "a", "b", "b"]
    assert other_caption(["a", "a", None], 0) is None


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 0.0, 0.0), (1.0, -1.0, 1.0)])
def test_codebook_weights_that_cannot_be_are_named(weights):
    with pytest.raises(ConfigError, match="codebook_weights"):
        tiny_task(codebook_weights=weights)


def test_a_melody_model_learns_from_text_and_keeps_its_melody_conditioner():
    task = tiny_task(melody=MelodyConfig(num_frames=5))
    assert {name.split(".")[0] for name in task.parameters()["lm"]} == {"lm", "text"}
    loss, _ = task.loss("lm", Jingles().batch(0), StepContext(0, torch.Generator(), {}))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in task.lm.parameters())
