import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from descant.errors import Cancelled, CheckpointError, ConfigError, InvalidRequest, TrainingDiverged
from descant.training.checkpoint import read_tensors
from descant.training.logs import read_log
from descant.training.trainer import Trainer


@pytest.mark.parametrize("has_critic", [False, True])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(toy, tmp_path, has_critic):
    whole = toy.trainer(tmp_path / "whole", has_critic=has_critic, accumulate=2)
    whole.run()
    for step in (3, 6, 7, 13):
        toy.stop_at(toy.trainer(tmp_path / "parts", has_critic=has_critic, accumulate=2), step)
    second = toy.trainer(tmp_path / "parts", has_critic=has_critic, accumulate=2)
    result = second.run(resume=True)
    assert result.finished
    assert result.step == 20
    assert toy.same_bits(toy.weights(second), toy.weights(whole))


def test_two_half_batches_make_the_update_of_one_whole_batch(toy, tmp_path):
    whole, halves = (toy.trainer(tmp_path, dropout=0.0, accumulate=number, clip_norm=None) for number in (1, 2))
    batch = toy.Batches().batch(0)
    norms = []
    for trainer, batches in ((whole, [batch]), (halves, list(batch.chunk(2)))):
        # The running mean sees two batches where the other run sees one; that is the toy's matter, not the trainer's.
        trainer.task.model.forward = lambda values, m=trainer.task.model: m.down(m.norm(m.up(values)))
        norms.append(trainer.updater.update(0, batches)[-1]["norm_student"])
    # The norm too, for AdamW makes the same step of a gradient of any length.
    torch.testing.assert_close(norms[1], norms[0])
    for name, parameter in whole.task.model.named_parameters():
        torch.testing.assert_close(halves.task.model.get_parameter(name), parameter, rtol=0, atol=1e-6)


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


def test_many_bad_batches_in_a_row_end_the_run_and_say_so(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=tuple(range(2, 99))), max_skips=4)
    with pytest.raises(TrainingDiverged, match=r"step 5: the student phase .* 4 times"):
        trainer.run()


def test_a_turn_leaves_the_gradients_of_the_other_alone(toy, tmp_path):
    """The student's loss passes through the critic; the critic must not learn from it."""
    trainer = toy.trainer(tmp_path, has_critic=True)
    trainer.task.phases = lambda _step: ("student",)
    before = trainer.task.critic.weight.clone()
    trainer.run()
    assert torch.equal(trainer.task.critic.weight, before)
    assert trainer.task.critic.weight.grad is None
    assert trainer.task.critic.weight.requires_grad


def test_validation_sees_the_averaged_weights_and_training_goes_on_with_its_own(toy, tmp_path):
    trainer = toy.trainer(tmp_path)
    trainer.run()
    own = trainer.task.model.up.weight.clone()
    with trainer.averaged_model() as model:
        assert torch.equal(model.up.weight, trainer.task.model.up.weight)
        averaged = model.up.weight.clone()
    assert torch.equal(trainer.task.model.up.weight, own)
    assert not torch.equal(averaged, own)
    assert torch.equal(averaged, read_tensors(tmp_path / "step-00000020", "average")["up.weight"])


def test_the_log_has_every_step_once_however_often_the_run_was_killed(toy, tmp_path):
    for step in (4, 8, 13, 17):
        toy.stop_at(toy.trainer(tmp_path, save_every=4), step)
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 18, "ki')
    toy.trainer(tmp_path, save_every=4).run(resume=True)
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [3, 6, 9, 12, 15, 18, 20]
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [7, 14, 20]
    assert lines[0].keys() >= {"loss", "lr", "audio_s_per_s", "skipped", "norm_student"}


def test_a_run_killed_between_its_last_save_and_its_validation_still_gets_validated(toy, tmp_path):
    first = toy.trainer(tmp_path)
    first.task.validate = None
    with pytest.raises(TypeError):
        first.run()
    result = toy.trainer(tmp_path).run(resume=True)
    assert result.metrics.keys() == {"error"}


def test_resuming_a_finished_run_changes_nothing(toy, tmp_path):
    first = toy.trainer(tmp_path)
    result = first.run()
    log = (tmp_path / "log.jsonl").read_text()
    again = toy.trainer(tmp_path)
    assert again.run(resume=True) == result
    assert again.task.validations == 0
    assert (tmp_path / "log.jsonl").read_text() == log
    assert toy.same_bits(toy.weights(again), toy.weights(first))


def test_a_run_given_more_steps_before_its_decay_is_the_longer_run(toy, tmp_path):
    toy.stop_at(toy.trainer(tmp_path / "parts", max_steps=20), 10)
    longer = toy.trainer(tmp_path / "parts", max_steps=30)
    longer.run(resume=True)
    whole = toy.trainer(tmp_path / "whole", max_steps=30)
    whole.run()
    assert toy.same_bits(toy.weights(longer), toy.weights(whole))


def test_a_changed_config_is_named_and_a_longer_budget_is_not(toy, tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ConfigError, match=r"trainer.accumulate: the run was begun with 1, now it is 2"):
        toy.trainer(tmp_path, accumulate=2).run(resume=True)
    with pytest.raises(ConfigError, match=r"task.has_critic"):
        toy.trainer(tmp_path, has_critic=True).run(resume=True)
    with pytest.raises(ConfigError, match=r"run.data"):
        Trainer(toy.Task(), toy.Batches(), toy.config(), tmp_path, facts={"data": "other"}).run(resume=True)
    assert toy.trainer(tmp_path, max_steps=22, log_every=1).run(resume=True).step == 22


def test_a_folder_with_a_run_is_not_written_over(toy, tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ConfigError, match="holds a run"):
        toy.trainer(tmp_path).run()


def test_a_run_out_of_time_saves_and_can_go_on(toy, tmp_path):
    first = toy.trainer(tmp_path, max_minutes=1e-9)
    result = first.run()
    assert (result.step, result.finished) == (1, False)
    second = toy.trainer(tmp_path)
    assert second.run(resume=True).finished
    whole = toy.trainer(tmp_path / "whole")
    whole.run()
    assert toy.same_bits(toy.weights(second), toy.weights(whole))


def test_a_model_that_came_in_eval_mode_is_trained_in_train_mode(toy, tmp_path):
    task = toy.Task()
    task.trained.eval()
    trainer = Trainer(task, toy.Batches(), toy.config(), tmp_path / "eval")
    trainer.run()
    usual = toy.trainer(tmp_path / "train")
    usual.run()
    assert toy.same_bits(toy.weights(trainer), toy.weights(usual))


def test_the_callers_random_state_is_given_back(toy, tmp_path):
    trainer = toy.trainer(tmp_path)
    before = torch.get_rng_state()
    trainer.run()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(toy, tmp_path, resume):
    """Once such a run began again with step 1, emptied its log and ended as if nothing had happened."""
    toy.trainer(tmp_path).run()
    for folder in tmp_path.glob("step-*"):
        (folder / "trained.safetensors").write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    wrong, words = (CheckpointError, r"checkpoints \(2\) are damaged") if resume else (ConfigError, "holds a run")
    with pytest.raises(wrong, match=words):
        toy.trainer(tmp_path).run(resume=resume)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("names", [(), ("model/weights",), ("model/weights", "log.jsonl")])
def test_there_is_nothing_to_resume_where_no_checkpoint_is(toy, tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier")
    with pytest.raises(ConfigError, match="no checkpoint to go on from"):
        toy.trainer(tmp_path).run(resume=True)
    assert all((tmp_path / name).read_text() == "earlier" for name in names)


def test_a_run_stopped_before_its_first_checkpoint_begins_again_and_keeps_its_log(toy, tmp_path, capsys):
    toy.stop_at(toy.trainer(tmp_path), 4)
    with pytest.raises(ConfigError, match="saved nothing yet"):
        toy.trainer(tmp_path).run()
    earlier = (tmp_path / "log.jsonl").read_text()
    assert earlier
    assert toy.trainer(tmp_path).run(resume=True).finished
    assert (tmp_path / "log-1.jsonl").read_text() == earlier
    assert "begins again with step 1" in capsys.readouterr().err


def test_a_run_may_die_any_number_of_times_before_its_first_checkpoint(toy, tmp_path):
    for _ in range(3):
        toy.stop_at(toy.trainer(tmp_path), 4)
    assert toy.trainer(tmp_path).run(resume=True).finished
    assert sorted(path.name for path in tmp_path.glob("log*")) == [f"log{end}.jsonl" for end in ("-1", "-2", "-3", "")]


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_goes_on(toy, tmp_path):
    class Twice:
        def batch(self, step):
            if step == 3:
                with pytest.raises(InvalidRequest, match=rf"in use by process {os.getpid()} on"):
                    toy.trainer(tmp_path).run(resume=True)
            return toy.Batches().batch(step)

    assert toy.trainer(tmp_path, batches=Twice()).run().finished
    assert not (tmp_path / ".descant.lock").exists()


def test_a_loss_that_explodes_ends_the_run_and_the_good_checkpoint_stays(toy, tmp_path):
    class Exploding(toy.Task):
        def loss(self, phase, batch, context):
            loss, metrics = super().loss(phase, batch, context)
            return (loss * 1e6 if context.step >= 7 else loss), metrics

    trainer = Trainer(Exploding(), toy.Batches(), toy.config(max_skips=5, save_every=2, keep_last=1), tmp_path)
    with pytest.raises(
        TrainingDiverged, match=r"step 11: the loss .* 5 times in a row.*trainer\.optimizer\.lr=0\.01.*step-00000006$"
    ):
        trainer.run()
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000006"]
    patient = toy.config(max_skips=5, max_loss_growth=None)
    assert Trainer(Exploding(), toy.Batches(), patient, tmp_path / "patient").run().finished


class ExplodingFrom:
    """Makes a task of the toy whose loss explodes at one step and, for this test, calls something back there."""

    def __init__(self, toy, step, then=lambda: None):
        self.toy, self.step, self.then = toy, step, then

    def task(self):
        outer = self

        class Exploding(self.toy.Task):
            def loss(self, phase, batch, context):
                loss, metrics = super().loss(phase, batch, context)
                if context.step == outer.step:
                    outer.then()
                return (loss * 1e6 if context.step >= outer.step else loss), metrics

        return Exploding()


def test_a_run_stopped_while_its_loss_explodes_goes_on_from_the_last_good_checkpoint(toy, tmp_path):
    def stop():
        os.kill(os.getpid(), signal.SIGTERM)

    config = toy.config(max_skips=5, save_every=2)
    trainer = Trainer(ExplodingFrom(toy, 7, stop).task(), toy.Batches(), config, tmp_path)
    with pytest.raises(Cancelled, match=r"stopped at step 8, .* not saved; .*step-00000006; --resume"):
        trainer.run()
    assert max(path.name for path in tmp_path.glob("step-*")) == "step-00000006"
    assert toy.trainer(tmp_path, max_skips=5, save_every=2).run(resume=True).finished


def test_a_run_out_of_time_while_its_loss_explodes_saves_and_gives_nothing(toy, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("descant.training.trainer.time.monotonic", lambda: now[0])

    def wait():
        now[0] = 120.0

    config = toy.config(max_skips=5, save_every=2, max_minutes=1.0)
    trainer = Trainer(ExplodingFrom(toy, 7, wait).task(), toy.Batches(), config, tmp_path)
    with pytest.raises(TrainingDiverged, match=r"step 8: the time is up.*last good checkpoint: .*step-00000006$"):
        trainer.run()
    assert max(path.name for path in tmp_path.glob("step-*")) == "step-00000006"


def test_an_exploded_checkpoint_is_passed_over_and_the_last_good_one_is_known(toy, tmp_path, capsys):
    """The last step is saved as it is; a run that is given more steps does not start from it if it exploded there."""
    config = toy.config(max_skips=5, save_every=2, max_steps=8)
    first = Trainer(ExplodingFrom(toy, 7).task(), toy.Batches(), config, tmp_path).run()
    assert (first.finished, first.checkpoint.name) == (True, "step-00000008")
    again = Trainer(ExplodingFrom(toy, 7).task(), toy.Batches(), config, tmp_path).run(resume=True)
    assert again.checkpoint == first.checkpoint
    longer = toy.config(max_skips=5, save_every=2, max_steps=20)
    trainer = Trainer(ExplodingFrom(toy, 7).task(), toy.Batches(), longer, tmp_path)
    with pytest.raises(TrainingDiverged, match=r"step 11.*last good checkpoint: .*step-00000006$"):
        trainer.run(resume=True)
    assert "step-00000008, where the loss had exploded: the run goes on from step-00000006" in capsys.readouterr().err


def test_a_single_jump_of_the_loss_ends_nothing(toy, tmp_path):
    class Jumping(toy.Task):
        def loss(self, phase, batch, context):
            loss, metrics = super().loss(phase, batch, context)
            return (loss * 1e6 if context.step % 3 == 2 else loss), metrics

    assert Trainer(Jumping(), toy.Batches(), toy.config(max_skips=2), tmp_path).run().finished


def test_a_diverged_run_without_a_checkpoint_says_so(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=tuple(range(99))), max_skips=3)
    with pytest.raises(TrainingDiverged, match="last good checkpoint: none was saved before"):
        trainer.run()


def test_a_run_out_of_time_is_validated_and_its_first_step_says_how_long_it_will_take(toy, tmp_path, capsys):
    result = toy.trainer(tmp_path, max_minutes=1e-9, log_every=100).run()
    assert result.metrics.keys() == {"error"}
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training 20 steps on cpu, a checkpoint every 5"
    assert re.fullmatch(r"step 1/20  took \S+ s: about \d+:\d\d in all, at most 0:00", lines[1])
    assert lines[2].startswith("valid step 1/20  error")


def test_a_damaged_line_of_the_log_is_named_and_the_run_goes_on(toy, tmp_path, capsys):
    toy.trainer(tmp_path, max_steps=10).run()
    log = tmp_path / "log.jsonl"
    first, second, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([first, b"\x00\xff{\n", b"[1]\n", b'{"kind": "train"}\n', *others]))
    toy.trainer(tmp_path, max_steps=12).run(resume=True)
    assert "left out 3 damaged lines, number 2, 3, 4" in capsys.readouterr().err
    assert json.loads(second)["step"] not in [line["step"] for line in read_log(log) if line["kind"] == "train"]
    assert read_log(log)[-1]["step"] == 12


def test_a_device_that_is_not_there_is_refused_with_those_that_are(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name in ("cuda", "cuda:3", "tpu", "cuda:x", ""):
        with pytest.raises(ConfigError, match=r"trainer\.device=.*this machine has cpu"):
            toy.trainer(tmp_path, device=name)
    assert toy.trainer(tmp_path, device="auto").device == torch.device("cpu")


def test_a_checkpoint_that_lost_its_counters_does_not_fit(toy, tmp_path):
    toy.trainer(tmp_path).run()
    state = tmp_path / "step-00000020" / "state.json"
    document = json.loads(state.read_text())
    del document["skipped"]
    state.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="does not fit"):
        toy.trainer(tmp_path).run(resume=True)


def test_a_disk_that_is_full_for_the_log_is_said_and_the_run_can_go_on(toy, tmp_path, monkeypatch):
    trainer = toy.trainer(tmp_path)
    monkeypatch.setattr(trainer.log, "file", Path("/dev/full"))
    monkeypatch.setattr(trainer.log, "rewind", lambda step: step)
    monkeypatch.setattr(trainer.log, "set_aside", lambda: None)
    with pytest.raises(CheckpointError, match=r"/dev/full: cannot be written \(No space left"):
        trainer.run()
