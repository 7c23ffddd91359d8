"""Losses and gradients that are not finite, and losses that explode."""

import os
import signal

import pytest
import torch

from descant.errors import Cancelled, TrainingDiverged
from descant.training.trainer import Trainer


def exploding(toy, steps=range(7, 99), then=lambda: None):
    """A toy task whose loss is a million times larger at these steps; ``then`` is called at the first of them."""

    class Exploding(toy.Task):
        def loss(self, phase, batch, context):
            loss, metrics = super().loss(phase, batch, context)
            if context.step == steps[0]:
                then()
            return (loss * 1e6 if context.step in steps else loss), metrics

    return Exploding()


def test_a_batch_that_is_not_finite_leaves_everything_but_the_count_untouched(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=(2,)), ema_decay=None)
    for step in (0, 1):
        trainer.updater.update(step, [trainer.batches.batch(step)])
    before = toy.weights(trainer)
    trainer.updater.update(2, [trainer.batches.batch(2)])
    assert toy.same_bits(toy.weights(trainer), before)
    assert trainer.updater.skipped == 1
    trainer.updater.update(3, [trainer.batches.batch(3)])
    assert not toy.same_bits(toy.weights(trainer), before)
    assert trainer.updater.skips_in_a_row == {"student": 0}


def test_many_bad_batches_in_a_row_end_the_run_with_an_error(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=tuple(range(2, 99))), max_skips=4)
    with pytest.raises(TrainingDiverged, match=r"step 5: the student phase .* 4 times"):
        trainer.run()


def test_a_loss_that_explodes_ends_the_run_and_the_good_checkpoint_stays(toy, tmp_path):
    trainer = Trainer(exploding(toy), toy.Batches(), toy.config(max_skips=5, save_every=2, keep_last=1), tmp_path)
    with pytest.raises(
        TrainingDiverged, match=r"step 11: the loss .* 5 times in a row.*trainer\.optimizer\.lr=0\.01.*step-00000006$"
    ):
        trainer.run()
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000006"]
    patient = toy.config(max_skips=5, max_loss_growth=None)
    assert Trainer(exploding(toy), toy.Batches(), patient, tmp_path / "patient").run().finished


def test_a_run_stopped_while_its_loss_explodes_resumes_from_the_last_good_checkpoint(toy, tmp_path):
    def stop():
        os.kill(os.getpid(), signal.SIGTERM)

    config = toy.config(max_skips=5, save_every=2)
    trainer = Trainer(exploding(toy, then=stop), toy.Batches(), config, tmp_path)
    with pytest.raises(Cancelled, match=r"stopped at step 8, .* not saved; .*step-00000006; --resume"):
        trainer.run()
    assert max(path.name for path in tmp_path.glob("step-*")) == "step-00000006"
    assert toy.trainer(tmp_path, max_skips=5, save_every=2).run(resume=True).finished


def test_a_run_out_of_time_while_its_loss_explodes_saves_and_returns_nothing(toy, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("descant.training.trainer.time.monotonic", lambda: now[0])

    def wait():
        now[0] = 120.0

    config = toy.config(max_skips=5, save_every=2, max_minutes=1.0)
    trainer = Trainer(exploding(toy, then=wait), toy.Batches(), config, tmp_path)
    with pytest.raises(TrainingDiverged, match=r"step 8: time ran out.*last good checkpoint: .*step-00000006$"):
        trainer.run()
    assert max(path.name for path in tmp_path.glob("step-*")) == "step-00000006"


def test_an_exploded_checkpoint_is_skipped_and_the_last_good_one_is_known(toy, tmp_path, capsys):
    """The last step is always saved; a run that is given more steps does not resume from it if it exploded there."""
    config = toy.config(max_skips=5, save_every=2, max_steps=8)
    first = Trainer(exploding(toy), toy.Batches(), config, tmp_path).run()
    assert (first.finished, first.checkpoint.name) == (True, "step-00000008")
    again = Trainer(exploding(toy), toy.Batches(), config, tmp_path).run(resume=True)
    assert again.checkpoint == first.checkpoint
    longer = toy.config(max_skips=5, save_every=2, max_steps=20)
    trainer = Trainer(exploding(toy), toy.Batches(), longer, tmp_path)
    with pytest.raises(TrainingDiverged, match=r"step 11.*last good checkpoint: .*step-00000006$"):
        trainer.run(resume=True)
    assert "step-00000008, where the loss had exploded: the run resumes from step-00000006" in capsys.readouterr().err


def test_a_single_jump_of_the_loss_does_not_end_the_run(toy, tmp_path):
    assert Trainer(exploding(toy, range(2, 99, 3)), toy.Batches(), toy.config(max_skips=2), tmp_path).run().finished


def test_a_diverged_run_without_a_checkpoint_reports_that(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=tuple(range(99))), max_skips=3)
    with pytest.raises(TrainingDiverged, match="last good checkpoint: none was saved before"):
        trainer.run()


def test_ten_failures_in_a_row_bring_back_the_weights_of_the_last_good_checkpoint(toy, tmp_path, capsys):
    bad = tuple(range(12, 22))
    batches = toy.Batches(bad=bad)
    changes = {"max_steps": 30, "save_every": 5, "ema_decay": None}
    trainer = toy.trainer(tmp_path / "whole", batches=batches, **changes)
    seen = {}
    update = trainer.updater.update

    def watched(step, of_step):
        seen[step] = toy.weights(trainer)
        return update(step, of_step)

    trainer.updater.update = watched
    assert trainer.run().finished
    assert trainer.updater.skipped == len(bad)
    assert f"step 22: 10 failures in a row: back to the weights of {tmp_path / 'whole' / 'step-00000010'}" in (
        capsys.readouterr().err
    )
    assert toy.same_bits(seen[22], seen[10])
    assert not toy.same_bits(seen[21], seen[10])
    patient = toy.trainer(tmp_path / "patient", batches=batches, rollback_after=None, **changes)
    assert patient.run().finished
    assert not toy.same_bits(toy.weights(patient), toy.weights(trainer))


def test_a_run_that_resumes_between_failures_goes_back_as_far_as_one_that_was_not_killed(toy, tmp_path):
    """The checkpoint that it resumed from, saved between two failures, counted as good."""
    changes = {"batches": toy.Batches(bad=tuple(range(12, 22))), "max_steps": 30, "save_every": 5}
    whole = toy.trainer(tmp_path / "whole", **changes)
    whole.run()
    toy.stop_at(toy.trainer(tmp_path / "parts", **changes), 17)
    last = toy.trainer(tmp_path / "parts", **changes)
    last.run(resume=True)
    assert last.updater.skipped == whole.updater.skipped == 10
    assert toy.same_bits(toy.weights(last), toy.weights(whole))


def test_a_float16_update_keeps_gradients_that_float16_has_no_numbers_for(toy, tmp_path):
    class Faint(toy.Task):
        def loss(self, phase, batch, context):
            loss, metrics = super().loss(phase, batch, context)
            return loss * 1e-6, metrics

    config = toy.config(precision="fp16", clip_norm=None)
    trainer = Trainer(Faint(dropout=0.0), toy.Batches(), config, tmp_path)
    whole = Trainer(Faint(dropout=0.0), toy.Batches(), toy.config(clip_norm=None), tmp_path / "fp32")
    for one in (trainer, whole):
        one.updater.update(0, [one.batches.batch(0)])
    ours, theirs = (
        {name: state["exp_avg"] for name, state in one.updater.optimizers["student"].state_dict()["state"].items()}
        for one in (trainer, whole)
    )
    assert all(gradient.abs().max() > 0 for gradient in theirs.values())
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=0.05, atol=float(gradient.abs().max()) / 50)


def test_the_loss_scale_is_halved_by_every_gradient_that_overflows_and_is_resumed(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=(2, 4)), precision="fp16", max_steps=6, save_every=6)
    trainer.run()
    assert trainer.updater.scales["student"].value == 2.0**14
    resumed = toy.trainer(tmp_path, precision="fp16", max_steps=7, save_every=6)
    resumed.run(resume=True)
    assert resumed.updater.scales["student"].value == 2.0**14
    assert resumed.updater.scales["student"].good_in_a_row == 2
    assert toy.trainer(tmp_path / "fp32").updater.scales["student"].value == 1.0
