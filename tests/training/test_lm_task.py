from dataclasses import replace

import pytest
import torch

from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.base import TextEncoder
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.conditioning.dropout import ConditionDropout
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.conditioning.text import SmallText
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError
from descant.lm.loss import pattern_cross_entropy
from descant.lm.model import LMConfig
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.rvq import RVQConfig
from descant.nn.transformer import TransformerConfig
from descant.patterns import Delay
from descant.training.lm import LMTask, LMTaskConfig, other_caption, stretches
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


CLIP = TokenizedClip(id="jingle", start_frame=0, num_frames=12, split="train", captions=(), tags={})


class Jingles:
    """Clips whose codes follow from their caption's letter; the last frames of one clip are missing."""

    def batch(self, step):
        generator = torch.Generator().manual_seed(step)
        letters = torch.randint(0, 4, (4,), generator=generator)
        codes = (letters[:, None, None] + torch.arange(3)[:, None] + torch.arange(12)) % 8
        mask = torch.ones(4, 12, dtype=torch.bool)
        mask[0, 9:] = False
        rows = [{"text": "abcd"[letter]} for letter in letters]
        return TokenBatch(codes * mask[:, None], rows, mask, [CLIP] * 4, torch.zeros(4))


def with_captions(batch, captions):
    rows = [{**row, "text": text} for row, text in zip(batch.conditions, captions, strict=True)]
    return replace(batch, conditions=rows)


def tiny_task(*, has_pooled_text=False, tempo_key=None, melody=None, clap=None, style=None, **changes):
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
        text=SmallText(dim=8, has_pooled_text=has_pooled_text),
        tempo_key=tempo_key,
        melody=melody,
        clap=clap,
        style=style,
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
        last.run(resume=last.log.file.exists())
    assert toy.same_bits(toy.weights(last), toy.weights(whole))


def test_a_model_that_follows_its_captions_has_a_caption_gain(toy, tmp_path):
    result = trainer_of(toy, tiny_task(), tmp_path, max_steps=60, save_every=60, validate_every=60).run()
    metrics = result.metrics
    assert metrics.keys() >= {"ce", "ce_q0", "ce_q1", "ce_q2", "caption_gain"}
    assert metrics["ce"] < 1.0
    assert 0 < metrics["caption_gain_low"] < metrics["caption_gain"] < metrics["caption_gain_high"]


def test_training_clips_are_measured_as_validation_clips_are():
    """Dropped conditions, hidden history and dropout are in the loss of a step, and in neither of these."""
    held_out, known = [Jingles().batch(1_000)], [Jingles().batch(7), Jingles().batch(8)]
    task = tiny_task(history_dropout=1.0)
    task.trained.eval()
    task.validation = held_out
    alone = task.validate()
    assert not any(name.startswith("train_") for name in alone)
    task.training_sample = known
    both = task.validate()
    task.validation, task.training_sample = known, ()
    swapped = task.validate()
    names = ("ce", "ce_q0", "ce_q1", "ce_q2")
    assert [both[f"train_{name}"] for name in names] == [swapped[name] for name in names]
    assert [both[name] for name in names] == [alone[name] for name in names] != [swapped[name] for name in names]


def test_codes_after_a_clips_end_do_not_change_the_loss():
    task = tiny_task(dropout=ConditionDropout(probability=0.0))
    task.trained.eval()
    batch = Jingles().batch(0)
    noisy = replace(batch, codes=torch.where(batch.frame_mask[:, None], batch.codes, 5))
    losses = [task.loss("lm", one, StepContext(0, torch.Generator(), {}))[0] for one in (batch, noisy)]
    assert losses[0] == losses[1]


def test_only_the_language_model_and_its_text_conditioner_learn():
    names = tiny_task().parameters()["lm"]
    assert {name.split(".")[0] for name in names} == {"lm", "text"}


@pytest.mark.parametrize("has_pooled_text", [False, True])
def test_with_every_condition_dropped_captions_change_nothing(has_pooled_text):
    task = tiny_task(has_pooled_text=has_pooled_text, dropout=ConditionDropout(probability=1.0))
    task.trained.eval()
    batch = Jingles().batch(0)
    other = with_captions(batch, ["z"] * 4)
    losses = [task.loss("lm", one, StepContext(0, torch.Generator(), {}))[0] for one in (batch, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("has_pooled_text", [False, True])
def test_every_path_of_a_caption_is_learned(has_pooled_text):
    task = tiny_task(has_pooled_text=has_pooled_text, dropout=ConditionDropout(probability=0.0))
    loss, _ = task.loss("lm", Jingles().batch(0), StepContext(0, torch.Generator(), {}))
    loss.backward()
    learned = {name for name, parameter in task.musicgen.text.named_parameters() if parameter.grad.any()}
    paths = ("project", "project_pooled", "project_output") if has_pooled_text else ("project",)
    assert learned == {f"{path}.{part}" for path in paths for part in ("weight", "bias")}


def test_tempo_and_key_are_learned_and_dropped_with_their_caption():
    """The clock depends on where the crop is in its clip, and a sample without its caption has no clock."""
    batch = Jingles().batch(0)
    stated = with_captions(batch, ["a 120 bpm", "b", "c in A minor", "d 90 bpm"])
    later = replace(stated, first_beats=torch.tensor([0.5, 0.5, 0.5, 0.5]))

    def losses(probability):
        task = tiny_task(tempo_key=TempoKeyConfig(), dropout=ConditionDropout(probability=probability))
        task.trained.eval()
        found = [task.loss("lm", one, StepContext(0, torch.Generator(), {}))[0] for one in (stated, later)]
        return task, found

    task, (on_the_beat, off_the_beat) = losses(0.0)
    assert on_the_beat != off_the_beat
    on_the_beat.backward()
    assert all(parameter.grad.any() for parameter in task.musicgen.tempo_key.parameters())
    assert {"tempo_key.project_clock.weight", "tempo_key.project_stated.weight"} < set(task.parameters()["lm"])
    _, (dropped, also_dropped) = losses(1.0)
    assert dropped == also_dropped


def test_a_forgotten_stretch_is_contiguous_and_half_of_them_begin_at_the_start():
    mask = torch.ones(4_000, 50, dtype=torch.bool)
    forgotten = stretches(mask, 1.0, torch.Generator().manual_seed(3))
    borders = torch.nn.functional.pad(forgotten.int(), (1, 1)).diff(dim=1).abs().sum(dim=1)
    assert set(borders.tolist()) <= {0, 2}, "one stretch a row"
    from_start = forgotten[:, 0].float().mean()
    assert 0.45 < from_start < 0.65
    assert 0.3 < forgotten.float().mean() < 0.6
    assert not stretches(mask, 0.0, torch.Generator()).any()
    some = stretches(mask, 0.25, torch.Generator().manual_seed(4)).any(dim=1).float().mean()
    assert 0.15 < some < 0.3


def test_forgotten_codes_are_still_targets_but_not_inputs():
    """With all of a clip forgotten, its codes change no logits; the loss still counts every one of them."""
    task = tiny_task(dropout=ConditionDropout(probability=0.0))
    task.trained.eval()
    batch = Jingles().batch(0)
    nothing = torch.zeros_like(batch.frame_mask)
    inputs = task._inputs(batch, batch.captions, {})
    assert torch.equal(task._logits(batch.codes, nothing, inputs), task._logits(batch.codes.flip(2), nothing, inputs))
    forgetful = tiny_task(dropout=ConditionDropout(probability=0.0), history_dropout=1.0)
    forgetful.trained.eval()
    generator = torch.Generator().manual_seed(0)
    losses = [one.loss("lm", batch, StepContext(0, generator, {})) for one in (task, forgetful)]
    assert losses[0][0] != losses[1][0]
    assert losses[0][1]["audio_s"] == losses[1][1]["audio_s"]


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
def test_invalid_codebook_weights_are_refused(weights):
    with pytest.raises(ConfigError, match="codebook_weights"):
        tiny_task(codebook_weights=weights)


@pytest.mark.parametrize("fusion", ["prefix", "cross", "sum"])
def test_a_melody_model_without_melodies_learns_from_text(fusion):
    task = tiny_task(melody=MelodyConfig(num_frames=5, fusion=fusion))
    assert {name.split(".")[0] for name in task.parameters()["lm"]} == {"lm", "text", "melody"}
    loss, _ = task.loss("lm", Jingles().batch(0), StepContext(0, torch.Generator(), {}))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in task.lm.parameters())


CLAP = ClapConfig(name="none", dim=8, num_codebooks=2, codebook_size=4)


class Places(Jingles):
    """Jingles without captions: the embedding of their audio depends on the letter, with a little noise."""

    def batch(self, step):
        batch = super().batch(step)
        letters = [ord(caption) - ord("a") for caption in batch.captions]
        noise = 0.1 * torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
        places = torch.nn.functional.normalize(torch.eye(8)[letters] + noise, dim=1)
        return replace(batch, conditions=[{"clap": place} for place in places])


def all_places():
    return torch.stack([row["clap"] for step in range(50) for row in Places().batch(step).conditions])


def places_task(**changes):
    task = tiny_task(clap=CLAP, dropout=ConditionDropout(**{"probability": 0.0, **changes}))
    task.validation = [Places().batch(1_000), Places().batch(1_001)]
    return task


def test_a_model_learns_from_audio_embeddings_without_any_caption(toy, tmp_path):
    task = places_task(clap=0.2)
    task.musicgen.clap.start(all_places())
    config = toy.config(max_steps=60, save_every=60, validate_every=60)
    metrics = Trainer(task, Places(), config, tmp_path).run().metrics
    assert metrics["ce_clap"] < 0.7 * metrics["ce"]
    assert 0 < metrics["clap_gain_low"] < metrics["clap_gain"]


def test_projection_and_codebooks_learn_and_a_second_run_has_the_same_bits(toy, tmp_path):
    def run(name, **changes):
        trainer = Trainer(places_task(), Places(), toy.config(max_steps=9, save_every=4, **changes), tmp_path / name)
        before = toy.weights(trainer)
        trainer.run(resume=trainer.log.file.exists())
        return before, toy.weights(trainer)

    before, first = run("first")
    changed = {name for name in before if not torch.equal(first[name], before[name])}
    books = {f"trained/clap.quantizer.levels.{level}.codebook" for level in range(2)}
    assert changed >= books | {"trained/clap.project.weight", "trained/clap.project.bias"}
    assert toy.same_bits(run("second")[1], first)
    run("parts", max_minutes=1e-9)
    assert toy.same_bits(run("parts")[1], first)


def test_with_every_embedding_dropped_audio_changes_nothing_and_no_codebook_learns():
    batch = Places().batch(0)
    for changes in ({"clap": 1.0}, {"probability": 1.0}):
        task = places_task(**changes)
        before = {name: value.clone() for name, value in task.musicgen.clap.named_buffers()}
        losses = []
        opposite = [{"clap": -row["clap"]} for row in batch.conditions]
        for rows in (batch.conditions, opposite, [{}] * 4):
            torch.manual_seed(0)
            losses.append(task.loss("lm", replace(batch, conditions=rows), StepContext(0, torch.Generator(), {}))[0])
        assert losses[0] == losses[1] == losses[2]
        after = dict(task.musicgen.clap.named_buffers())
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_model_trained_on_audio_alone_follows_texts(toy, tmp_path):
    """The text encoder gives a letter the embedding of its jingle's audio; it was not used in training."""
    task = places_task(clap=0.2)
    task.musicgen.clap.start(all_places())
    Trainer(task, Places(), toy.config(max_steps=60, save_every=60, validate_every=60), tmp_path).run()
    task.trained.eval()
    task.musicgen.clap.encoder = LetterPlaces(CLAP)
    batch = Jingles().batch(1_000)
    of_text = task.musicgen.inputs(
        task.musicgen.prepare([{"text": text} for text in batch.captions]), task.musicgen.span(12)
    )
    other = task.musicgen.inputs(
        task.musicgen.prepare([{"text": text} for text in reversed(batch.captions)]), task.musicgen.span(12)
    )
    own, others = (
        pattern_cross_entropy(
            task._logits(batch.codes, batch.frame_mask, inputs), batch.codes, task.pattern, batch.frame_mask
        )[0]
        for inputs in (of_text, other)
    )
    assert own < others


class LetterPlaces(JointEncoder):
    def to(self, device):
        del device
        return self

    def embed_text(self, text):
        return torch.eye(8)[ord(text) - ord("a")]

    def embed_window(self, wave):
        raise NotImplementedError


@pytest.mark.parametrize("fusion", ["prefix", "cross", "sum"])
def test_a_melody_is_learned_from_batches_that_have_one(fusion):
    """The melody's pitch is the first code of every frame: given the melody, the codes are predicted better."""
    config = MelodyConfig(num_frames=6, hop_samples=1_280, window_samples=2_560, fusion=fusion)
    task = tiny_task(melody=config, dropout=ConditionDropout(probability=0.1))

    class Tunes(Jingles):
        def batch(self, step):
            plain = super().batch(step)
            pitches = plain.codes[:, :1, :1].expand(-1, 8, 12) == torch.arange(12)
            return replace(plain, conditions=[{"melody": melody.float()} for melody in pitches])

    task.validation = [Tunes().batch(number) for number in range(1_000, 1_004)]
    optimizer = torch.optim.Adam(task.parameters()["lm"].values(), lr=0.01)
    for step in range(80):
        optimizer.zero_grad()
        task.loss("lm", Tunes().batch(step), StepContext(step, torch.Generator().manual_seed(step), {}))[0].backward()
        optimizer.step()
    metrics = task.validate()
    assert metrics["melody_gain_low"] > 0
    assert metrics["ce_melody"] < metrics["ce"]
