"""``torchrun -m descant train``: a process that dies, one that hangs, and runs that go on."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from descant.apps.cli.main import PROCESS_IS_LOST
from descant.training.logs import read_log

TRAINING = Path(__file__).parents[1] / "training"
RECIPE = f"""
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, {str(TRAINING)!r})
from two_processes import Jingles, Toy, lm_trainer

from descant.training.trainer_config import TrainerConfig

BASE = {{"accumulate": 2, "max_steps": 12, "save_every": 2, "validate_every": 6, "log_every": 1}}

@dataclass(frozen=True, kw_only=True)
class Run:
    dies_at: int | None = None
    hangs_at: int | None = None
    trainer: TrainerConfig = field(default_factory=lambda: Toy.config(num_threads=1, **BASE))

@dataclass(frozen=True)
class Batches:
    run: Run

    def batch(self, number):
        if number == self.run.dies_at and not Path("died").exists():
            Path("died").write_text("")
            os._exit(9)
        if number == self.run.hangs_at:
            time.sleep(1_000)
        return Jingles().batch(number)

def config():
    return Run()

def train(run, out_dir, resume):
    changes = {{name: getattr(run.trainer, name) for name in ("mesh", "process_timeout_s", "num_threads")}}
    trainer = lm_trainer(out_dir, Batches(run), **BASE, **changes)
    return {{"steps": trainer.run(resume).step}}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "r.py").write_text(RECIPE)
    return ["-m", "descant", "train", "r.py"]


def losses(folder):
    lines = [line for line in read_log(folder / "log.jsonl") if line["kind"] == "train"]
    return {line["step"]: line["loss_lm"] for line in lines}


def alone(recipe, folder, *words):
    return subprocess.run(
        [sys.executable, *recipe, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=600
    )


def test_a_run_whose_process_dies_goes_on_from_its_checkpoint_to_the_same_losses(recipe, tmp_path):
    alone(recipe, tmp_path, "--out", "whole")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    words = ["--out", "parts", "--set", "dies_at=21", "--set", "trainer.mesh=shard"]
    done = alone([*launcher, *recipe], tmp_path, *words)
    assert (tmp_path / "died").exists()
    assert "resumed from parts/step-0000000" in done.stderr
    assert done.stdout.count("steps") == 1
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    assert len(losses(tmp_path / "parts")) == 12


def test_a_process_ends_with_its_own_exit_code_when_another_one_hangs(recipe, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    words = ["--out", "run", "--set", "hangs_at=9", "--set", "trainer.process_timeout_s=30"]
    pair = []
    for rank in ("0", "1"):
        environment = {**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"}
        with (tmp_path / f"console-{rank}").open("w") as console:
            command = [sys.executable, *recipe, *words]
            pair.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=console))
    # The second process computes batch 9, in update 4.
    try:
        code = pair[0].wait(timeout=600)
    finally:
        for process in pair:
            process.kill()
            process.wait()
    console = (tmp_path / "console-0").read_text()
    assert code == PROCESS_IS_LOST, console
    assert "another process of this run has ended, or did not answer within 30 s" in console
    assert "Traceback" not in console
    assert losses(tmp_path / "run").keys() == {1, 2, 3, 4}
