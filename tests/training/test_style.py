"""Styles in training: which music they come from, what is left out of the loss, and that the bottleneck learns."""

from dataclasses import replace

import pytest
import torch

from descant.conditioning.dropout import ConditionDropout
from descant.conditioning.style import StyleConfig, StyleFeatures
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError
from descant.generation.conditions import StyleReader
from descant.generation.request import Request
from descant.nn.rvq import VectorQuantizer
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.style import StyleExcerpts
from descant.training.task import StepContext
from descant.training.trainer import Trainer

CONFIG = StyleConfig(
    features="none",
    feature_dim=16,
    width=8,
    num_heads=2,
    num_layers=1,
    num_codebooks=4,
    codebook_size=8,
    used_codebooks=2,
    stride_frames=3,
    min_excerpt_s=0.1,
    excerpt_s=0.2,
    max_excerpt_s=0.3,
)
CLIP = TokenizedClip(id="clip", start_frame=0, num_frames=40, split="train", captions=(), tags={})


class Blocks(StyleFeatures):
    """A vector per 16 samples: the samples themselves, at 8 kHz."""

    dim = 16
    sample_rate_hz = 8_000

    def to(self, device):
        del device
        return self

    def features(self, wave):
        return 20 * wave[: len(wave) // 16 * 16].reshape(-1, 16)


class Clips:
    """Random clips of 40 frames, the second one of 8, too short for a style."""

    def batch(self, step):
        generator = torch.Generator().manual_seed(step)
        codes = torch.randint(0, 32, (4, 4, 40), generator=generator)
        mask = torch.ones(4, 40, dtype=torch.bool)
        mask[1, 4:] = False
        rows = [{"text": text} for text in ("warm", "slow", "sad", None)]
        return TokenBatch(codes * mask[:, None], rows, mask, [CLIP] * 4, torch.zeros(4))


@pytest.fixture
def model(make_model):
    made = make_model(style=CONFIG).requires_grad_(True)
    made.style.encoder = Blocks()
    for level in made.style.quantizer.levels:
        level.is_initialized.zero_()
    return made


def task_of(model, **dropout):
    config = LMTaskConfig(dropout=ConditionDropout(**{"probability": 0.0, **dropout}))
    return LMTask(model, config, [Clips().batch(1_000)])


def test_the_frames_of_an_excerpt_do_not_count_and_its_vectors_are_theirs(model):
    excerpts, batch = StyleExcerpts(model.codec, model.style), Clips().batch(0)
    lengths = set()
    for seed in range(20):
        styled, counted = excerpts.drawn(batch, torch.Generator().manual_seed(seed))
        assert "style" not in styled.conditions[1]
        assert torch.equal(counted[1], batch.frame_mask[1])
        left_out = {row: (~counted[row]).nonzero().flatten().tolist() for row in (0, 2, 3)}
        for row, frames in left_out.items():
            assert frames == list(range(frames[0], frames[-1] + 1))
            wave = model.codec.decode(batch.codes[row : row + 1, :, frames[0] : frames[-1] + 1]).mean(dim=1)[0]
            assert len(styled.conditions[row]["style"]) == len(wave) // 4 // 16
        assert len({len(frames) for frames in left_out.values()}) == 1, "one length a batch"
        lengths.add(len(left_out[0]))
    assert min(lengths) >= 5
    assert max(lengths) <= 15
    assert len(lengths) > 5


def test_a_style_in_validation_is_that_of_generation(model):
    for level in model.style.quantizer.levels:
        level.codebook.normal_()
    model.eval()
    batch = Clips().batch(0)
    styled, counted = StyleExcerpts(model.codec, model.style).in_the_middle(batch)
    assert (~counted[0]).nonzero().flatten().tolist() == list(range(15, 25))
    excerpt = batch.codes[:1, :, 15:25]
    from descant.audio import Clip

    clip = Clip(model.codec.decode(excerpt)[0].detach(), model.codec.sample_rate_hz)
    in_use = StyleReader(model).read(Request(text="warm", duration_s=1.0, style=clip))
    span = model.span(40)
    prepared = model.style.prepare([styled.conditions[0], {"style": in_use}])
    ours, theirs = model.style(prepared, span)["prefix"].values
    assert torch.equal(ours, theirs)


def test_every_part_of_the_bottleneck_learns_and_the_encoder_of_codes_stays(model):
    task = task_of(model)
    task.trained.train()
    before = {name: buffer.clone() for name, buffer in model.style.named_buffers()}
    task.loss("lm", Clips().batch(0), StepContext(0, torch.Generator().manual_seed(0), {}))[0].backward()
    for part in ("embed", "blocks", "project"):
        gradients = [parameter.grad for parameter in getattr(model.style, part).parameters()]
        assert all(gradient is not None and gradient.any() for gradient in gradients), part
    changed = {name for name, buffer in model.style.named_buffers() if not torch.equal(buffer, before[name])}
    assert changed >= {"batch_norm.running_mean", "quantizer.levels.0.codebook"}
    assert not any(parameter.grad is not None for parameter in model.codec.parameters())
    names = {name.split(".")[0] for name in task.parameters()["lm"]}
    assert names == {"lm", "text", "style"}


def test_a_random_number_of_levels_is_used(model):
    model.style.train()
    numbers = set()
    for seed in range(20):
        torch.manual_seed(seed)
        for level in model.style.quantizer.levels:
            level.usage.zero_()
        model.style([torch.randn(9, 16)] * 2, model.span(40))
        numbers.add(
            sum(
                isinstance(level, VectorQuantizer) and bool(level.usage.any()) for level in model.style.quantizer.levels
            )
        )
    assert numbers == {1, 2, 3, 4}


def test_dropped_styles_change_nothing_and_all_frames_count(model):
    task = task_of(model, style=1.0)
    task.trained.train()
    before = {name: buffer.clone() for name, buffer in model.style.named_buffers()}
    batch = Clips().batch(0)
    styled = task.loss("lm", batch, StepContext(0, torch.Generator().manual_seed(0), {}))[1]["ce"]
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.style.named_buffers())
    task.styles = None
    assert task.loss("lm", batch, StepContext(0, torch.Generator().manual_seed(0), {}))[1]["ce"] == styled


def test_a_run_with_styles_resumes_with_the_same_bits(make_model, toy, tmp_path):
    def trainer(folder, **changes):
        model = make_model(style=CONFIG).requires_grad_(True)
        model.style.encoder = Blocks()
        return Trainer(task_of(model), Clips(), toy.config(max_steps=6, save_every=2, **changes), tmp_path / folder)

    whole = trainer("whole")
    assert "style_gain" in whole.run().metrics
    for minutes in (1e-9, None):
        parts = trainer("parts", max_minutes=minutes)
        parts.run(resume=parts.log.file.exists())
    assert toy.same_bits(toy.weights(parts), toy.weights(whole))


def test_excerpts_without_an_encoder_are_refused(make_model):
    model = make_model(style=CONFIG)
    with pytest.raises(ConfigError, match="not loaded"):
        StyleExcerpts(model.codec, model.style)
    assert LMTask(model.requires_grad_(True), LMTaskConfig()).styles is None
    with pytest.raises(ConfigError, match="max_excerpt_s"):
        replace(CONFIG, max_excerpt_s=0.15)
