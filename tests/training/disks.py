"""A run on a disk that is full, and on one that cannot be written: a script of ``test_disks.py``, which mounts them."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from conftest import Toy

from descant.errors import DescantError
from descant.training.checkpoint import newest_checkpoint

CHANGES = {"has_critic": True, "max_steps": 40, "save_every": 1, "keep_last": 100}


def run(folder, resume):
    """Why the run ended before its last step; empty if it did not."""
    try:
        Toy.trainer(folder, **CHANGES).run(resume)
    except DescantError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def main(folder):
    """Prints what the run said on each disk, and the step that it resumed from."""
    disk = folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=400k", "tmpfs", disk)
    found = {"full": run(disk / "run", resume=False)}
    found["saved"] = newest_checkpoint(disk / "run", note=damaged)[1]["step"]
    mount("-o", "remount,ro", disk)
    found["read-only"] = run(disk / "run", resume=True)
    mount("-o", "remount,rw,size=64m", disk)
    found["larger"] = run(disk / "run", resume=True)
    found["whole"] = run(folder / "whole", resume=False)
    ours, theirs = (Toy.final(place)[1] for place in (disk / "run", folder / "whole"))
    print(json.dumps({**found, "same_bits": Toy.same_bits(ours, theirs)}))


def damaged(note):
    raise AssertionError(note)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
