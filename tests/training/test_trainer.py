"""The training loop: resuming, budgets, validation, logs and what a run refuses."""

import json
import os
import re
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from descant.errors import CheckpointError, ConfigError, InvalidRequest
from descant.training import checkpoint_writer
from descant.training.checkpoint import StoredGroup
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


def test_two_half_batches_give_the_update_of_one_whole_batch(toy, tmp_path):
    whole, halves = (toy.trainer(tmp_path, dropout=0.0, accumulate=number, clip_norm=None) for number in (1, 2))
    batch = toy.Batches().batch(0)
    norms = []
    for trainer, batches in ((whole, [batch]), (halves, list(batch.chunk(2)))):
        # Bypasses the running mean, which sees two batches here and one there.
        trainer.task.model.forward = lambda values, m=trainer.task.model: m.down(m.norm(m.up(values)))
        norms.append(trainer.updater.update(0, batches)[-1]["norm_student"])
    # The norm is compared too, because AdamW takes the same step for a gradient of any norm.
    torch.testing.assert_close(norms[1], norms[0])
    for name, parameter in whole.task.model.named_parameters():
        torch.testing.assert_close(halves.task.model.get_parameter(name), parameter, rtol=0, atol=1e-6)


def test_a_phase_leaves_the_gradients_of_other_phases_alone(toy, tmp_path):
    """The student's loss passes through the critic; the critic must not learn from it."""
    trainer = toy.trainer(tmp_path, has_critic=True)
    trainer.task.phases = lambda _step: ("student",)
    before = trainer.task.critic.weight.clone()
    trainer.run()
    assert torch.equal(trainer.task.critic.weight, before)
    assert trainer.task.critic.weight.grad is None
    assert trainer.task.critic.weight.requires_grad


def test_validation_uses_the_averaged_weights_and_training_keeps_its_own(toy, tmp_path):
    trainer = toy.trainer(tmp_path)
    trainer.run()
    own = trainer.task.model.up.weight.clone()
    with trainer.averaged_model() as model:
        assert torch.equal(model.up.weight, trainer.task.model.up.weight)
        averaged = model.up.weight.clone()
    assert torch.equal(trainer.task.model.up.weight, own)
    assert not torch.equal(averaged, own)
    assert torch.equal(averaged, StoredGroup(tmp_path / "step-00000020", "average")["up.weight"])


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


def test_extending_a_run_before_its_decay_equals_the_longer_run(toy, tmp_path):
    toy.stop_at(toy.trainer(tmp_path / "parts", max_steps=20), 10)
    longer = toy.trainer(tmp_path / "parts", max_steps=30)
    longer.run(resume=True)
    whole = toy.trainer(tmp_path / "whole", max_steps=30)
    whole.run()
    assert toy.same_bits(toy.weights(longer), toy.weights(whole))


def test_a_changed_config_is_refused_and_a_longer_budget_is_not(toy, tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ConfigError, match=r"trainer.accumulate: the run was started with 1, now it is 2"):
        toy.trainer(tmp_path, accumulate=2).run(resume=True)
    with pytest.raises(ConfigError, match=r"task.has_critic"):
        toy.trainer(tmp_path, has_critic=True).run(resume=True)
    with pytest.raises(ConfigError, match=r"run.data"):
        Trainer(toy.Task(), toy.Batches(), toy.config(), tmp_path, run_identity={"data": "other"}).run(resume=True)
    assert toy.trainer(tmp_path, max_steps=22, log_every=1).run(resume=True).step == 22


def test_a_folder_with_a_run_is_not_overwritten(toy, tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ConfigError, match="holds a run"):
        toy.trainer(tmp_path).run()


def test_a_run_out_of_time_saves_and_can_be_resumed(toy, tmp_path):
    first = toy.trainer(tmp_path, max_minutes=1e-9)
    result = first.run()
    assert (result.step, result.finished) == (1, False)
    second = toy.trainer(tmp_path)
    assert second.run(resume=True).finished
    whole = toy.trainer(tmp_path / "whole")
    whole.run()
    assert toy.same_bits(toy.weights(second), toy.weights(whole))


def test_a_model_in_eval_mode_is_trained_in_train_mode(toy, tmp_path):
    task = toy.Task()
    task.trained.eval()
    trainer = Trainer(task, toy.Batches(), toy.config(), tmp_path / "eval")
    trainer.run()
    usual = toy.trainer(tmp_path / "train")
    usual.run()
    assert toy.same_bits(toy.weights(trainer), toy.weights(usual))


def test_the_callers_random_state_is_restored(toy, tmp_path):
    trainer = toy.trainer(tmp_path)
    before = torch.get_rng_state()
    trainer.run()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_whose_checkpoints_are_all_damaged_is_left_unchanged(toy, tmp_path, resume):
    """Such a run once restarted at step 1, emptied its log and finished without an error."""
    toy.trainer(tmp_path).run()
    for folder in tmp_path.glob("step-*"):
        (folder / "trained.safetensors").write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    wrong, words = (CheckpointError, r"checkpoints \(2\) are damaged") if resume else (ConfigError, "holds a run")
    with pytest.raises(wrong, match=words):
        toy.trainer(tmp_path).run(resume=resume)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("names", [(), ("model/weights",), ("model/weights", "log.jsonl")])
def test_a_folder_without_a_checkpoint_cannot_be_resumed(toy, tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier")
    with pytest.raises(ConfigError, match="no checkpoint to resume from"):
        toy.trainer(tmp_path).run(resume=True)
    assert all((tmp_path / name).read_text() == "earlier" for name in names)


def test_a_run_stopped_before_its_first_checkpoint_starts_again_and_keeps_its_log(toy, tmp_path, capsys):
    toy.stop_at(toy.trainer(tmp_path), 4)
    with pytest.raises(ConfigError, match="saved nothing yet"):
        toy.trainer(tmp_path).run()
    earlier = (tmp_path / "log.jsonl").read_text()
    assert earlier
    assert toy.trainer(tmp_path).run(resume=True).finished
    assert (tmp_path / "log-1.jsonl").read_text() == earlier
    assert "starts again at step 1" in capsys.readouterr().err


def test_a_run_may_be_killed_any_number_of_times_before_its_first_checkpoint(toy, tmp_path):
    for _ in range(3):
        toy.stop_at(toy.trainer(tmp_path), 4)
    assert toy.trainer(tmp_path).run(resume=True).finished
    assert sorted(path.name for path in tmp_path.glob("log*.jsonl")) == [
        f"log{end}.jsonl" for end in ("-1", "-2", "-3", "")
    ]


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_runs(toy, tmp_path):
    class Twice:
        def batch(self, step):
            if step == 3:
                with pytest.raises(InvalidRequest, match=rf"in use by process {os.getpid()} on"):
                    toy.trainer(tmp_path).run(resume=True)
            return toy.Batches().batch(step)

    assert toy.trainer(tmp_path, batches=Twice()).run().finished
    assert not (tmp_path / ".descant.lock").exists()


def test_a_run_out_of_time_is_validated_and_its_first_step_gives_an_estimate(toy, tmp_path, capsys):
    result = toy.trainer(tmp_path, max_minutes=1e-9, log_every=100).run()
    assert result.metrics.keys() == {"error"}
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training 20 steps on cpu in fp32, a checkpoint every 5"
    assert re.fullmatch(r"step 1/20  took \S+ s: about \d+:\d\d in all, at most 0:00", lines[1])
    assert lines[2].startswith("valid step 1/20  error")


def test_a_damaged_line_of_the_log_is_named_and_the_run_continues(toy, tmp_path, capsys):
    toy.trainer(tmp_path, max_steps=10).run()
    log = tmp_path / "log.jsonl"
    first, second, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([first, b"\x00\xff{\n", b"[1]\n", b'{"kind": "train"}\n', *others]))
    toy.trainer(tmp_path, max_steps=12).run(resume=True)
    assert "left out 3 damaged lines, number 2, 3, 4" in capsys.readouterr().err
    assert json.loads(second)["step"] not in [line["step"] for line in read_log(log) if line["kind"] == "train"]
    assert read_log(log)[-1]["step"] == 12


def test_a_missing_device_is_refused_with_a_list_of_the_available_ones(toy, tmp_path, monkeypatch):
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


def test_a_full_disk_is_reported_when_the_log_is_written(toy, tmp_path, monkeypatch):
    trainer = toy.trainer(tmp_path)
    monkeypatch.setattr(trainer.log, "file", Path("/dev/full"))
    monkeypatch.setattr(trainer.log, "rewind", lambda step: step)
    monkeypatch.setattr(trainer.log, "set_aside", lambda: None)
    with pytest.raises(CheckpointError, match=r"/dev/full: cannot be written \(No space left"):
        trainer.run()


def test_the_log_is_closed_even_if_the_last_checkpoint_cannot_be_written(toy, tmp_path, monkeypatch):
    trainer = toy.trainer(tmp_path, save_every=7, validate_every=7)
    closed = []
    monkeypatch.setattr(trainer.record, "close", closed.append)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "save_file", fail)
    monkeypatch.setattr(trainer.task, "validate", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        trainer.run()
    assert closed == [7]


def test_a_watched_run_is_validated_before_its_first_step_and_ends_where_the_watch_says(toy, tmp_path):
    seen: list[int] = []

    def watch(step, metrics):
        assert metrics.keys() == {"error"}
        seen.append(step)
        return step == 14

    def watched(folder):
        return Trainer(toy.Task(), toy.Batches(), toy.config(), folder, watch=watch)

    result = watched(tmp_path / "run").run()
    assert seen == [0, 7, 14]
    assert (result.step, result.finished, result.checkpoint.name) == (14, False, "step-00000014")
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "validation"] == seen
    again = watched(tmp_path / "run").run(resume=True)
    assert (again.step, again.checkpoint, seen) == (14, result.checkpoint, [0, 7, 14, 14])
    resumed = toy.trainer(tmp_path / "run")
    assert resumed.run(resume=True).finished
    whole = toy.trainer(tmp_path / "whole")
    whole.run()
    assert toy.same_bits(toy.weights(resumed), toy.weights(whole))


def test_training_goes_on_while_a_checkpoint_is_written_with_the_weights_of_its_step(toy, tmp_path, monkeypatch):
    has_gone_on = threading.Event()

    class Watched(toy.Task):
        def loss(self, phase, batch, context):
            if context.step == 8:
                has_gone_on.set()
            return super().loss(phase, batch, context)

    def late(tensors, file, metadata):
        assert has_gone_on.wait(timeout=60), "training waited for the checkpoint"
        save_file(tensors, file, metadata)

    monkeypatch.setattr(checkpoint_writer, "save_file", late)
    config = toy.config(max_steps=10, keep_steps=(5,))
    Trainer(Watched(), toy.Batches(), config, tmp_path / "late").run()
    monkeypatch.undo()
    toy.trainer(tmp_path / "plain", max_steps=10, keep_steps=(5,)).run()
    for step in ("step-00000005", "step-00000010"):
        for group in ("trained", "average", "optimizer-student"):
            ours, theirs = (dict(StoredGroup(tmp_path / name / step, group)) for name in ("late", "plain"))
            assert toy.same_bits(ours, theirs)
