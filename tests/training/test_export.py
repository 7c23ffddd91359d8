"""The best checkpoint of a run, and the model of a run that was stopped."""

import math

import pytest
import torch

from descant.errors import ConfigError
from descant.training.checkpoint import StoredGroup, checkpoints
from descant.training.trainer import Trainer


def rated(toy, folder, values, **changes):
    """A trainer whose validations give these values by their step."""
    task = toy.Task()
    trainer = Trainer(task, toy.Batches(), toy.config(**{"validate_every": 5, "keep_last": 1, **changes}), folder)
    task.validate = lambda: {"error": values[trainer.step]}
    return trainer


ERRORS = {5: 3.0, 10: 1.0, 15: float("nan"), 20: 2.0}


def steps(folder):
    return [int(path.name.removeprefix("step-")) for path in checkpoints(folder)]


def test_the_best_checkpoint_is_kept_until_a_better_one(toy, tmp_path):
    for stop, kept in ((7, [5]), (12, [10]), (17, [10, 15])):
        toy.stop_at(rated(toy, tmp_path, ERRORS), stop)
        assert steps(tmp_path) == kept
    rated(toy, tmp_path, ERRORS).run(resume=True)
    assert steps(tmp_path) == [10, 20]
    rated(toy, tmp_path, {**ERRORS, 25: 0.5}, max_steps=25).run(resume=True)
    assert steps(tmp_path) == [25]
    rated(toy, tmp_path / "off", ERRORS, keep_best=False).run()
    assert steps(tmp_path / "off") == [20]


@pytest.mark.parametrize(("which", "step"), [("newest", 15), ("best", 10)])
def test_a_stopped_run_exports_a_checkpoint_and_goes_on_as_if_nothing_had_been(toy, tmp_path, which, step):
    toy.stop_at(rated(toy, tmp_path, ERRORS), 17)
    log = (tmp_path / "log.jsonl").read_bytes()
    exporting = rated(toy, tmp_path, ERRORS, export=which)
    result = exporting.run(resume=True)
    assert (result.step, result.finished, result.checkpoint.name) == (step, False, f"step-{step:08d}")
    assert math.isnan(result.metrics["error"]) if which == "newest" else result.metrics == {"error": 1.0}
    stored = StoredGroup(result.checkpoint, "average")
    with exporting.averaged_model() as model:
        assert all(torch.equal(parameter, stored[name]) for name, parameter in model.named_parameters())
    assert (tmp_path / "log.jsonl").read_bytes() == log
    resumed, whole = rated(toy, tmp_path, ERRORS), rated(toy, tmp_path / "whole", ERRORS)
    resumed.run(resume=True)
    whole.run()
    assert toy.same_bits(toy.weights(resumed), toy.weights(whole))


def test_a_damaged_best_checkpoint_is_passed_over_with_a_note(toy, tmp_path, capsys):
    toy.stop_at(rated(toy, tmp_path, ERRORS, keep_last=3), 17)
    (tmp_path / "step-00000010" / "trained.safetensors").write_bytes(b"damaged")
    assert rated(toy, tmp_path, ERRORS, keep_last=3, export="best").run(resume=True).step == 5
    assert "skipped a damaged checkpoint" in capsys.readouterr().err


def test_what_is_not_there_cannot_be_exported(toy, tmp_path):
    with pytest.raises(ConfigError, match=r"no intact checkpoint$"):
        rated(toy, tmp_path, {}, export="newest").run(resume=True)
    toy.stop_at(rated(toy, tmp_path, {}, validate_every=None), 7)
    with pytest.raises(ConfigError, match=r"no intact checkpoint that was validated; export the newest one"):
        rated(toy, tmp_path, {}, validate_every=None, export="best").run(resume=True)
