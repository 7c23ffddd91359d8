"""Two processes whose batches differ in what their codebooks learn from: a script of ``test_distributed.py``."""

import os
import sys
from pathlib import Path

import test_lm_task as lm
import test_style as style
import torch
from conftest import Toy
from forks import forked

from descant.conditioning.dropout import ConditionDropout
from descant.training.distributed import joined
from descant.training.trainer import Trainer

TIMEOUT_S = 30.0


def joint_task():
    return lm.places_task(clap=0.7), lm.Places()


def style_task():
    """Excerpts are drawn with a random length, and as many levels of the bottleneck."""
    task = lm.tiny_task(style=style.CONFIG, dropout=ConditionDropout(probability=0.0, style=0.7))
    task.musicgen.requires_grad_(True).style.encoder = style.Blocks()
    return lm.LMTask(task.musicgen, task.config), lm.Jingles()


def main(folder):
    """Trains both, and writes the weights that each process has in the end."""

    def run(rank):
        with joined(torch.device("cpu"), TIMEOUT_S):
            for name, made in (("clap", joint_task), ("style", style_task)):
                task, batches = made()
                config = Toy.config(accumulate=2, max_steps=20, validate_every=None, process_timeout_s=TIMEOUT_S)
                Trainer(task, batches, config, folder / name).run()
                torch.save(task.trained.state_dict(), folder / f"{name}-{rank}.pt")

    forked(run, 2)
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)]
    assert codes == [0, 0], codes


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
