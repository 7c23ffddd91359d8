"""Training in several processes: two of them do what one does, wherever the weights are."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from descant.errors import ConfigError
from descant.training.distributed import Share
from descant.training.logs import merged, read_log, slowest
from tests.training.conftest import Toy

SCRIPT = Path(__file__).with_name("two_processes.py")


def as_module(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(command, rank, port, console):
    """One of two processes, each on a machine of its own as far as they know; for a pipe it would wait to be read."""
    own = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    with console.open("w") as stderr:
        return subprocess.Popen(command, env={**os.environ, **own, **place}, stderr=stderr)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The folders of one process and of two that have done the same."""
    two = as_module(SCRIPT)
    out = tmp_path_factory.mktemp("worlds")
    with pytest.raises(two.Killed):
        two.lm_trainer(out / "moved", two.Jingles(end=8)).run()
    port = free_port()
    consoles = [out / f"console-{rank}.txt" for rank in (0, 1)]
    command = [sys.executable, str(SCRIPT), str(out)]
    pair = [started(command, rank, port, console) for rank, console in enumerate(consoles)]
    whole = two.lm_trainer(out / "one")
    whole.run()
    whole.export(lambda: two.save(out / "one" / "model.pt", whole.task.model))
    two.lm_trainer(out / "one-bad", two.spoiled(), **two.ONE_IS_BAD).run()
    two.lm_trainer(out / "one-fp16", precision="fp16").run()
    two.codec_trainer(out / "one-codec", two.JoinedTones(), accumulate=1).run()
    torch.save({"quantizer": two.quantized(0, 1), "norms": two.balanced(0, 1)}, out / "quantizer.pt")
    for process, console in zip(pair, consoles, strict=True):
        assert process.wait(timeout=900) == 0, console.read_text()[-3_000:]
    two.lm_trainer(out / "moved").run(resume=True)
    return out


def losses(folder, name="loss_lm"):
    return torch.tensor([line[name] for line in read_log(folder / "log.jsonl") if line["kind"] == "train"])


def assert_same_run(ours, theirs, **tolerance):
    (our_state, our_tensors), (their_state, their_tensors) = Toy.final(ours), Toy.final(theirs)
    assert our_state["step"] == their_state["step"]
    assert our_state["skipped"] == their_state["skipped"]
    torch.testing.assert_close(our_tensors, their_tensors, **tolerance)


@pytest.mark.parametrize("mesh", ["replicate", "shard", "shard-in-node"])
def test_two_processes_train_as_one_does_with_two_batches_an_update(worlds, mesh):
    torch.testing.assert_close(losses(worlds / mesh), losses(worlds / "one"), rtol=0, atol=1e-5)
    assert_same_run(worlds / mesh, worlds / "one", rtol=0, atol=1e-4)
    for folder in (worlds / mesh, worlds / "one"):
        kinds = [(line["step"], line["kind"]) for line in read_log(folder / "log.jsonl")]
        assert kinds == sorted([(step, "train") for step in range(1, 13)] + [(6, "validation"), (12, "validation")])
        assert {path.name for path in folder.glob("*.html")} == {"run.html"}


@pytest.mark.parametrize("mesh", ["replicate", "shard", "shard-in-node"])
def test_an_exported_model_is_whole_and_averaged(worlds, mesh):
    ours, theirs = (torch.load(worlds / name / "model.pt", weights_only=True) for name in (mesh, "one"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    average = {name.removeprefix("average/"): tensor for name, tensor in Toy.final(worlds / mesh)[1].items()}
    assert all(torch.equal(tensor, average[name]) for name, tensor in ours.items())


def test_a_run_goes_on_with_another_number_of_processes(worlds):
    """One process trained the first third, two with split weights the second, and one the last."""
    torch.testing.assert_close(losses(worlds / "moved"), losses(worlds / "one"), rtol=0, atol=1e-6)
    assert_same_run(worlds / "moved", worlds / "one", rtol=0, atol=1e-4)


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_by_all(worlds):
    """After ten in a row all go back to the same checkpoint."""
    state, tensors = Toy.final(worlds / "bad")
    assert state["skipped"] == 20
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert_same_run(worlds / "bad", worlds / "one-bad", rtol=0, atol=1e-4)
    assert "back to the weights of" in (worlds / "console-0.txt").read_text()


def test_float16_trains_in_two_processes_as_in_one(worlds):
    torch.testing.assert_close(losses(worlds / "fp16"), losses(worlds / "one-fp16"), rtol=0, atol=1e-3)
    torch.testing.assert_close(losses(worlds / "fp16"), losses(worlds / "one"), rtol=0, atol=2e-2)


@pytest.mark.parametrize("mesh", ["replicate", "shard", "shard-in-node"])
def test_every_process_writes_the_rows_that_it_holds_and_none_twice(worlds, mesh):
    state, tensors = Toy.final(worlds / mesh)
    ranks = {"replicate": set(), "shard": {0, 1}, "shard-in-node": {0}}[mesh]
    assert {name for name in state["files"] if name.startswith("trained")} == {
        "trained.safetensors", *(f"trained.part-{rank:05d}.safetensors" for rank in ranks)
    }  # fmt: skip
    held = sum(tensor.nbytes for tensor in tensors.values())
    written = sum(record["bytes"] for record in state["files"].values())
    assert held < written < 1.5 * held


def test_a_full_disk_of_one_process_stops_all_and_leaves_the_older_checkpoint(worlds):
    messages = [(worlds / f"full-{rank}.txt").read_text() for rank in (0, 1)]
    assert messages[0] == messages[1]
    assert "No space left" in messages[0]
    names = [path.name for path in (worlds / "full").iterdir()]
    assert [name for name in names if name.startswith((".", "step-"))] == ["step-00000004"]
    assert Toy.final(worlds / "full")[0]["step"] == 4


def test_a_validation_that_fails_in_all_processes_leaves_the_checkpoint_saved_before_it(worlds):
    assert Toy.final(worlds / "invalid")[0]["step"] == 2


def test_a_signal_to_one_process_stops_all_after_the_same_step(worlds):
    messages = [(worlds / f"stopped-{rank}.txt").read_text() for rank in (0, 1)]
    assert messages[0] == messages[1]
    state, _ = Toy.final(worlds / "stopped")
    assert f"stopped at step {state['step']}, saved in" in messages[0]
    assert 1 <= state["step"] <= 5


def together(script, folder):
    """Runs a script of this folder that forks processes which train together."""
    command = [sys.executable, str(SCRIPT.with_name(f"{script}.py")), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]


def test_a_process_that_hangs_is_noticed_by_all_where_weights_are_split_inside_machines(tmp_path):
    """The groups of that mesh waited half an hour, whatever the limit was."""
    together("hanging", tmp_path)


def test_codebooks_of_styles_and_joint_embeddings_learn_from_whatever_rows_each_process_has(tmp_path):
    """Rows lose their condition at random, and a process with other rows or levels exchanged other tensors."""
    together("uneven", tmp_path)
    for name in ("clap", "style"):
        ours, theirs = (torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
        assert Toy.same_bits(ours, theirs)
        assert all(value.isfinite().all() for value in ours.values())
        (used,) = (ours[key] for key in ours if key.endswith("levels.0.usage"))
        assert used.any()


def test_a_codec_trains_in_two_processes_as_in_one_on_joined_batches(worlds):
    for name in ("loss_codec", "loss_discriminator"):
        steps = [line for line in read_log(worlds / "codec" / "log.jsonl") if name in line]
        assert steps
    torch.testing.assert_close(
        losses(worlds / "codec", "loss_codec"), losses(worlds / "one-codec", "loss_codec"), rtol=1e-4, atol=1e-4
    )


def test_codebooks_start_follow_and_restart_with_the_vectors_of_all_processes(worlds):
    whole = torch.load(worlds / "quantizer.pt", weights_only=True)
    for rank in (0, 1):
        part = torch.load(worlds / f"quantizer-{rank}.pt", weights_only=True)
        torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)


def test_processes_share_the_batches_of_every_update_and_none_keeps_its_place():
    shares = [Share(rank, 2, 4) for rank in (0, 1)]
    for update in range(3):
        assert sorted(place for share in shares for place in share.positions(update)) == [0, 1, 2, 3]
        assert [len(share.positions(update)) for share in shares] == [2, 2]
    own = shares[0].numbers_from(2)
    assert [next(own) for _ in range(5)] == [2, 5, 7, 8, 10]
    alone = Share(0, 1, 3).numbers_from(1)
    assert [next(alone) for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(ConfigError, match=r"trainer\.accumulate=3: .* a multiple of 2"):
        Share(0, 2, 3)


def test_the_log_of_several_processes_is_one_and_names_the_slowest(capsys):
    assert merged([{"ce": 1.0, "audio_s_per_s": 3.0}, {"ce": 2.0, "audio_s_per_s": 4.0}]) == {
        "ce": 1.5,
        "audio_s_per_s": 7.0,
    }
    assert slowest([(1.0, "a")]) == {}
    assert slowest([(1.0, "a"), (1.1, "b"), (3.0, "c")]) == {"slowest_process": 2.0, "slowest_ratio": 3.0 / 1.1}
    assert "process 2 on c" in capsys.readouterr().err
    slowest([(1.0, "a"), (1.1, "b")])
    assert capsys.readouterr().err == ""
