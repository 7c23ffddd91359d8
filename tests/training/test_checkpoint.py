import shutil

import pytest
import torch

from descant.errors import CheckpointError, ConfigError
from descant.training import checkpoint
from descant.training.checkpoint import (
    check_same_run,
    newest_checkpoint,
    prune_checkpoints,
    read_tensors,
    save_checkpoint,
)

TENSORS = {"trained": {"weight": torch.arange(6.0).reshape(2, 3)}, "optimizer-lm": {}}


def saved(folder, *steps):
    return [save_checkpoint(folder, step, TENSORS, {"note": step}) for step in steps]


def test_what_was_saved_is_read_back(tmp_path):
    saved(tmp_path, 3, 12)
    folder, state = newest_checkpoint(tmp_path, note=pytest.fail)
    assert folder.name == "step-00000012"
    assert (state["step"], state["note"]) == (12, 12)
    assert torch.equal(read_tensors(folder, "trained")["weight"], TENSORS["trained"]["weight"])
    assert {file.name for file in folder.iterdir()} == {
        "state.json", "trained.safetensors", "optimizer-lm.safetensors",
    }  # fmt: skip


def truncate(folder):
    file = folder / "trained.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(folder):
    file = folder / "trained.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "truncated": truncate,
    "one bit flipped": flip_a_bit,
    "a file missing": lambda folder: (folder / "optimizer-lm.safetensors").unlink(),
    "no state": lambda folder: (folder / "state.json").unlink(),
    "state cut short": lambda folder: (folder / "state.json").write_text('{"format": 1, "st'),
    "state of another version": lambda folder: (folder / "state.json").write_text('{"format": 99, "files": {}}'),
    "state is not an object": lambda folder: (folder / "state.json").write_text("[1]"),
    "empty": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_skipped_with_a_note(tmp_path, damage):
    _, newest = saved(tmp_path, 3, 12)
    damage(newest)
    notes = []
    folder, _ = newest_checkpoint(tmp_path, note=notes.append)
    assert folder.name == "step-00000003"
    assert len(notes) == 1
    assert "step-00000012" in notes[0]


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    (tmp_path / ".descant-0123456789abcdef.part").mkdir()
    (tmp_path / "step-3").mkdir()
    assert newest_checkpoint(tmp_path, note=pytest.fail) is None
    assert newest_checkpoint(tmp_path / "absent", note=pytest.fail) is None


def test_a_full_disk_leaves_the_older_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    saved(tmp_path, 3)

    def full(_tensors, file):
        file.write_bytes(b"beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        saved(tmp_path, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_the_last_ones_and_the_chosen_ones_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 3, 4, 5)
    prune_checkpoints(tmp_path, step=5, keep_last=2, keep_steps=(2,))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in (2, 4, 5)]


def test_pruning_keeps_the_new_checkpoint_when_a_later_one_is_damaged(tmp_path):
    """A run that resumes from step 3, because step 12 is damaged, must keep the checkpoint of step 5."""
    _, newest = saved(tmp_path, 3, 12)
    truncate(newest)
    saved(tmp_path, 5)
    prune_checkpoints(tmp_path, step=5, keep_last=1, keep_steps=())
    folder, _ = newest_checkpoint(tmp_path, note=print)
    assert folder.name == "step-00000005"


def test_the_field_that_changed_is_named_at_any_depth():
    run = {"trainer": {"seed": 1, "optimizer": {"lr": 0.1}, "max_steps": 5}}
    check_same_run(run, run, free=())
    check_same_run(run, {"trainer": {**run["trainer"], "max_steps": 9}}, free={"trainer.max_steps"})
    with pytest.raises(ConfigError, match=r"trainer.optimizer.lr: the run was started with 0.1, now it is 0.2"):
        check_same_run(run, {"trainer": {**run["trainer"], "optimizer": {"lr": 0.2}}}, free=())
    with pytest.raises(ConfigError, match=r"trainer.extra: the run was started with None, now it is 1"):
        check_same_run(run, {"trainer": {**run["trainer"], "extra": 1}}, free=())
