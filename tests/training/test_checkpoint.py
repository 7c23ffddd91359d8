import errno
import json
import os
import shutil

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from descant.errors import CheckpointError, ConfigError
from descant.training import checkpoint, checkpoint_writer
from descant.training.checkpoint import StoredGroup, check_same_run, crc32_of, newest_checkpoint, prune_checkpoints
from descant.training.checkpoint_writer import CheckpointWriter
from descant.training.distributed import World

TENSORS = {"trained": {"weight": torch.arange(6.0).reshape(2, 3)}, "optimizer-lm": {}}


def saved(folder, *steps):
    writer = CheckpointWriter(folder, World())
    folders = []
    for step in steps:
        writer.begin(step, TENSORS, {"note": step})
        folders.append(writer.finish())
    return folders


def test_what_was_saved_is_read_back(tmp_path):
    saved(tmp_path, 3, 12)
    folder, state = newest_checkpoint(tmp_path, note=pytest.fail)
    assert folder.name == "step-00000012"
    assert (state["step"], state["note"]) == (12, 12)
    assert torch.equal(StoredGroup(folder, "trained")["weight"], TENSORS["trained"]["weight"])
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

    def full(_tensors, file, _metadata):
        file.write_bytes(b"beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        saved(tmp_path, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


@pytest.mark.parametrize(
    ("error", "is_of_the_disk"),
    [
        (OSError(28, "No space left on device"), True),
        (SafetensorError("I/O error: No space left on device (os error 28)"), True),
        (PermissionError(13, "Permission denied"), False),
        (MemoryError(), False),
    ],
    ids=repr,
)
def test_why_a_checkpoint_is_not_saved_is_said_with_its_type_and_only_a_disk_is_to_be_freed(
    tmp_path, monkeypatch, error, is_of_the_disk
):
    def fail(_tensors, _file, _metadata):
        raise error

    monkeypatch.setattr(checkpoint_writer, "save_file", fail)
    with pytest.raises(CheckpointError, match=f"cannot be saved .{type(error).__name__}: ") as caught:
        saved(tmp_path, 4)
    assert caught.value.__cause__ is error
    assert ("free the disk" in str(caught.value)) == is_of_the_disk


def test_a_checkpoint_on_a_bad_sector_is_skipped_with_a_note(tmp_path, monkeypatch):
    older, newest = saved(tmp_path, 3, 12)

    def read(file):
        if file.parent == newest:
            raise OSError(5, "Input/output error")
        return crc32_of(file)

    monkeypatch.setattr(checkpoint, "crc32_of", read)
    notes = []
    assert newest_checkpoint(tmp_path, note=notes.append)[0] == older
    assert "cannot be read (Input/output error)" in notes[0]


def test_the_last_ones_and_the_chosen_ones_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 3, 4, 5)
    prune_checkpoints(tmp_path, step=5, keep_last=2, keep_steps=(2,), note=pytest.fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in (2, 4, 5)]


def test_an_old_checkpoint_that_cannot_be_deleted_is_named_and_goes_later(tmp_path, monkeypatch):
    """The run ended, although its new checkpoint was complete."""
    saved(tmp_path, 1, 2, 3)
    notes = []

    def busy(folder):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(folder))

    with monkeypatch.context() as patched:
        patched.setattr("descant.training.checkpoint.shutil.rmtree", busy)
        prune_checkpoints(tmp_path, step=3, keep_last=2, keep_steps=(), note=notes.append)
    assert notes == [f"an old checkpoint was not deleted, {tmp_path / 'step-00000001'}: {os.strerror(errno.EBUSY)}"]
    prune_checkpoints(tmp_path, step=3, keep_last=2, keep_steps=(), note=pytest.fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_pruning_keeps_the_new_checkpoint_when_a_later_one_is_damaged(tmp_path):
    """A run that resumes from step 3, because step 12 is damaged, must keep the checkpoint of step 5."""
    _, newest = saved(tmp_path, 3, 12)
    truncate(newest)
    saved(tmp_path, 5)
    prune_checkpoints(tmp_path, step=5, keep_last=1, keep_steps=(), note=pytest.fail)
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


def test_rows_of_several_processes_are_joined_and_a_missing_part_is_named(tmp_path):
    whole = torch.arange(10.0).reshape(5, 2)
    save_file({"bias": torch.ones(3)}, tmp_path / "trained.safetensors")
    for rank, (first, last) in enumerate(((0, 3), (3, 5))):
        rows = {"rows": json.dumps({"weight": (first, 5)})}
        save_file({"weight": whole[first:last].clone()}, tmp_path / f"trained.part-{rank:05d}.safetensors", rows)
    group = StoredGroup(tmp_path, "trained")
    assert sorted(group) == ["bias", "weight"]
    assert torch.equal(group["weight"], whole)
    (tmp_path / "trained.part-00000.safetensors").unlink()
    with pytest.raises(CheckpointError, match="weight has 5 rows, and not all are there"):
        StoredGroup(tmp_path, "trained")["weight"]
    with pytest.raises(CheckpointError, match="average"):
        StoredGroup(tmp_path, "average")
