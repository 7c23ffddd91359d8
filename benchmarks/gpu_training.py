"""Checks training on the GPUs of one machine and measures it, in less than ten minutes on any number of them::

    torchrun --standalone --nproc-per-node gpu benchmarks/gpu_training.py --out results

Each finding is one JSON line, printed and appended to ``gpu_training.jsonl`` at once. Models are untrained and codes
are random, so nothing is downloaded. An error ends everything, since processes that wait for each other cannot go on
without one. The exit status is 1 if anything was wrong. ``--toy`` runs the same code on a CPU, in seconds.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpu_setup import Finding, Report
from jaxtyping import Float
from torch import Tensor

from descant import presets, processes
from descant.conditioning.base import TextEncoder
from descant.conditioning.text import SmallText
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch, TokenBatchConfig
from descant.model import MusicGenConfig, MusicGenModel
from descant.studies.speed.machine import measure_ceiling
from descant.training.distributed import joined, own_device
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.plan import memory, step_flops
from descant.training.sharding import Mesh
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig
from descant.training.update import Updater

MESHES: tuple[Mesh, ...] = ("replicate", "shard", "shard-in-node")
TEXT_WIDTH, TEXT_TOKENS = 768, 16


@dataclass(frozen=True)
class Measured:
    """A model whose updates are measured, on batches of so many rows."""

    name: str
    config: MusicGenConfig
    rows: int
    recompute: bool = False
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of one run of this script.

    Args:
        small: the model whose losses are compared.
    """

    device: torch.device
    small: MusicGenConfig
    small_batch: TokenBatchConfig
    measured: tuple[Measured, ...]
    frames: int
    num_updates: int

    @staticmethod
    def whole(device: torch.device) -> "Sizes":
        """On a GPU: minutes."""
        small, medium, large = (_with_words(presets.PRESETS[name]()) for name in ("small", "medium", "large"))
        return Sizes(
            device=device,
            small=_with_words(presets.small(), width=512, num_layers=8),
            small_batch=TokenBatchConfig(batch_size=8, segment_frames=500),
            measured=(
                Measured("small", small, 8),
                Measured("small", small, 8, compile=True),
                Measured("small", small, 8, recompute=True),
                Measured("medium", medium, 4),
                Measured("medium", medium, 8, recompute=True),
                Measured("medium", medium, 8, recompute=True, compile=True),
                Measured("large", large, 4, recompute=True),
                Measured("large", large, 4, recompute=True, compile=True),
            ),
            frames=1_500,
            num_updates=30,
        )

    @staticmethod
    def toy(device: torch.device) -> "Sizes":
        """On any machine: seconds. Its numbers mean nothing."""
        tiny = _with_words(presets.tiny())
        batch = TokenBatchConfig(batch_size=2, segment_frames=20)
        measured = (Measured("tiny", tiny, 2), Measured("tiny", tiny, 2, recompute=True))
        return Sizes(device=device, small=tiny, small_batch=batch, measured=measured, frames=20, num_updates=4)


class Words(TextEncoder):
    """Sixteen fixed random vectors, whatever the text."""

    dim = TEXT_WIDTH

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._states = torch.randn(TEXT_TOKENS, TEXT_WIDTH, generator=torch.Generator().manual_seed(3)).to(device)

    @property
    def device(self) -> torch.device:
        return self._device

    def to(self, device: torch.device | str) -> "Words":
        return Words(torch.device(device))

    def states(self, text: str) -> Float[Tensor, "L D"]:
        del text
        return self._states


@dataclass(frozen=True)
class Noise:
    """Batches of random codes, each of its number."""

    config: MusicGenConfig
    crops: TokenBatchConfig

    def batch(self, number: int) -> TokenBatch:
        rows, frames = self.crops.batch_size, self.crops.segment_frames
        shape = (rows, self.config.lm.num_codebooks, frames)
        codes = torch.randint(self.config.lm.codebook_size, shape, generator=torch.Generator().manual_seed(number))
        clip = TokenizedClip(id="noise", start_frame=0, num_frames=frames, split="train", captions=(), tags={})
        conditions: list[dict[str, Any]] = [{"text": "noise"} for _ in range(rows)]
        return TokenBatch(
            codes, conditions, torch.ones(rows, frames, dtype=torch.bool), [clip] * rows, torch.zeros(rows)
        )


def precisions(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """The losses of the first updates in bf16 and fp16 beside those in float32."""
    exact = _losses(sizes, folder / "fp32")
    for precision in ("bf16", "fp16"):
        if precision == "fp16" and sizes.device.type == "cpu":
            continue
        yield _compared(
            f"losses, {precision} = fp32", exact, _losses(sizes, folder / precision, precision=precision), 0.01
        )


def meshes(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """The losses on each mesh beside those of whole weights in every process."""
    whole = _losses(sizes, folder / "whole")
    for mesh in MESHES[1:]:
        yield _compared(f"losses, {mesh} = replicate", whole, _losses(sizes, folder / mesh, mesh=mesh), 1e-4)


def resumed(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """The losses of a run that was stopped in its middle, on another mesh, beside those of one that was not."""
    whole = _losses(sizes, folder / "once")
    _losses(sizes, folder / "twice", max_steps=sizes.num_updates // 2)
    again = _losses(sizes, folder / "twice", mesh="shard", resume=True)
    yield _compared("losses, resumed = whole", whole, again, 1e-4)


def updates(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """Clips a second, the share of the card's arithmetic, and memory beside that of ``--plan``."""
    del folder
    rate = measure_ceiling(sizes.device, torch.bfloat16).flops_per_s
    mesh: Mesh = "shard" if processes.count() > 1 else "replicate"
    for one in sizes.measured:
        batch = TokenBatchConfig(batch_size=one.rows, segment_frames=sizes.frames)
        trainer = _trainer(sizes, mesh=mesh, precision="bf16", recompute=one.recompute, compile=one.compile)
        planned = memory(
            one.config,
            batch,
            trainer,
            num_devices=processes.count(),
            per_node=processes.count(),
            text_tokens=TEXT_TOKENS,
        )
        source = Noise(one.config, batch)
        updater = Updater(_task(one.config, sizes.device), trainer, sizes.device)
        ready = [source.batch(number) for number in range(len(updater.share.positions(0)))]
        seconds = []
        for step in range(5):
            began = time.perf_counter()
            updater.update(step, ready)
            _wait(sizes.device)
            seconds.append(time.perf_counter() - began)
        found = {"what": "update", "model": one.name, "batch": one.rows, "recompute": one.recompute}
        found |= {"compile": one.compile, "seconds": min(seconds), "first_s": seconds[0]}
        clips = one.rows * trainer.accumulate
        flops = step_flops(one.config, batch) * len(ready) * (4 / 3 if one.recompute else 1)
        found |= {"clips_per_s": clips / min(seconds), "share_of_arithmetic": flops / min(seconds) / rate}
        if sizes.device.type == "cuda":
            taken = torch.cuda.max_memory_allocated()
            found |= {"planned_bytes": planned.peak, "bytes": taken, "bytes_against_plan": taken / planned.peak}
        yield found
        del updater, ready
        if sizes.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _losses(sizes: Sizes, folder: Path, *, resume: bool = False, **changes: Any) -> list[float]:
    """The loss of each update of a run."""
    task = _task(sizes.small, sizes.device)
    source = Noise(sizes.small, sizes.small_batch)
    Trainer(task, source, _trainer(sizes, **changes), folder).run(resume)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss_lm"] for line in lines if line["kind"] == "train"]


def _task(config: MusicGenConfig, device: torch.device) -> LMTask:
    torch.manual_seed(0)
    with device:
        model = MusicGenModel(config, Words(device))
    return LMTask(model, LMTaskConfig())


def _trainer(sizes: Sizes, **changes: Any) -> TrainerConfig:
    base = {"max_steps": sizes.num_updates, "log_every": 1, "validate_every": None, "keep_best": False}
    method = {"optimizer": AdamWConfig(lr=1e-4), "schedule": PlateauLinear(warmup_steps=2)}
    return TrainerConfig(**{"accumulate": processes.count(), **method, **base, **changes})


def _compared(what: str, exact: list[float], other: list[float], most: float) -> Finding:
    error = max(abs(one - two) / abs(one) for one, two in zip(exact, other, strict=True))
    return {"what": what, "updates": len(exact), "largest_difference": error, "ok": error <= most}


def _with_words(config: MusicGenConfig, **transformer: Any) -> MusicGenConfig:
    """The config with a text encoder of fixed vectors, and another size."""
    shape = replace(config.lm.transformer, **transformer)
    return replace(config, text=SmallText(dim=TEXT_WIDTH), lm=replace(config.lm, transformer=shape))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """All checks, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")), help="default: $OUT")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, on any device")
    arguments = parser.parse_args()
    is_cuda = torch.cuda.is_available()
    if not (is_cuda or arguments.toy):
        parser.error("no CUDA device; --toy runs the same code without one")
    device = own_device(torch.device("cuda" if is_cuda else "cpu"))
    sizes = Sizes.toy(device) if arguments.toy else Sizes.whole(device)
    runs = arguments.out / "runs"
    report = Report(arguments.out / "gpu_training.jsonl")
    with joined(device, timeout_s=300.0):
        for check in (precisions, meshes, resumed, updates):
            for finding in check(sizes, runs / check.__name__):
                if processes.is_first():
                    report.add({**finding, "processes": processes.count()})
        if processes.is_first():
            shutil.rmtree(runs)
            report.add({"what": "end", "ok": report.is_ok})
    return 0 if report.is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
