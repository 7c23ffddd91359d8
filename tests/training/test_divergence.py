"""Losses and gradients that are not finite, and losses that explode."""

import os
import signal

import pytest

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
