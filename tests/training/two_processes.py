"""What two processes do together, in a script that ``test_distributed.py`` starts twice; its results are files."""

import importlib.util
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from descant import processes
from descant.codec.balancer import Balancer
from descant.data.audio_dataset import AudioBatch
from descant.errors import Cancelled, CheckpointError, DataError
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig
from descant.training import checkpoint_writer
from descant.training.distributed import joined
from descant.training.trainer import Trainer

BAD = -1.0
"""Marks a batch, in what this model does not read."""

BAD_UPDATES = (*range(0, 20, 2), *range(22, 32))
"""Ten with good ones between them, and ten in a row."""

ONE_IS_BAD = {"max_steps": 36, "validate_every": 36}
"""A run whose batches are not finite in one of two processes; the checkpoint before the ten in a row is good."""

MESHES = ("replicate", "shard", "shard-in-node")


def sibling(name):
    """Another file of this folder: tests are no package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"two_processes_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


conftest = sibling("conftest")
Toy, Killed = conftest.Toy, conftest.Killed
lm, codec = sibling("test_lm_task"), sibling("test_codec_task")


@dataclass(frozen=True)
class Jingles:
    """Batches of a language model; the losses of the ``bad`` ones are not finite, and at ``stop`` SIGTERM arrives."""

    bad: tuple[int, ...] = ()
    stop: int | None = None
    end: int | None = None

    def batch(self, number):
        if number == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.end is not None and number >= self.end:
            raise Killed
        batch = lm.Jingles().batch(number)
        if number in self.bad:
            batch.first_beats[0] = BAD
        return batch


class Spoiling(lm.LMTask):
    """A task whose loss is not finite on a batch that is marked."""

    def loss(self, phase, batch, context):
        loss, metrics = super().loss(phase, batch, context)
        return (loss * float("nan") if batch.first_beats[0] == BAD else loss), metrics


def spoiled():
    return Jingles(bad=tuple(2 * update + update // 2 % 2 for update in BAD_UPDATES))


def lm_trainer(folder, batches=None, **changes):
    task = lm.tiny_task(history_dropout=0.3)
    task.__class__ = Spoiling
    base = {"accumulate": 2, "max_steps": 12, "save_every": 4, "validate_every": 6, "log_every": 1}
    return Trainer(task, batches or Jingles(), Toy.config(**{**base, **changes}), folder)


class JoinedTones:
    """The batches of two processes as one."""

    def batch(self, number):
        pair = [codec.Tones().batch(2 * number + place) for place in range(2)]
        return AudioBatch(torch.cat([one.wave for one in pair]))


def codec_trainer(folder, batches, accumulate):
    changes = {"max_steps": 12, "save_every": 6, "log_every": 1, "accumulate": accumulate, "clip_norm": None}
    # Feature matching is a ratio of means over a batch, so joined batches have another one.
    task = codec.tiny_task(feature_weight=0.0)
    for level in task.codec.quantizer.levels:
        # An entry that is restarted is drawn, in each update, by the process that happens to be the first.
        level.config = replace(level.config, dead_code_threshold=0.0)
    return Trainer(task, batches, Toy.config(**changes), folder)


def quantized(rank, num_ranks):
    """The codebooks after three batches, of which this process has its rows: some of them, all of them or none."""
    torch.manual_seed(3)
    quantizer = ResidualVectorQuantizer(
        RVQConfig(dim=4, codebook_dim=4, num_codebooks=2, codebook_size=8, kmeans_iterations=5, decay=0.5)
    )
    for number in (1, 2, 0):
        latents = torch.randn(4, 4, 6, generator=torch.Generator().manual_seed(number))
        torch.manual_seed(number + (100 * rank))
        quantizer(latents.split((4 - number, number) if num_ranks == 2 else (4,))[rank])
    return quantizer.state_dict()


def balanced(rank, num_ranks):
    """The norms of a balancer after one batch, of which this process has its rows."""
    wave = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(0)).chunk(num_ranks)[rank].requires_grad_()
    balancer = Balancer({"a": 1.0, "b": 2.0})
    balancer({"a": wave.square().sum(), "b": wave.abs().sum()}, wave)
    return balancer.norm_sums


def full_disk(folder, rank):
    """A run in which the second process cannot write the checkpoint of step 8; what it says is a file."""
    save_file = checkpoint_writer.save_file

    def save(tensors, file, metadata):
        if rank == 1 and trainer.step >= 8:
            raise OSError(28, "No space left on device")
        save_file(tensors, file, metadata)

    checkpoint_writer.save_file = save
    trainer = lm_trainer(folder, mesh="shard")
    try:
        trainer.run()
    except CheckpointError as error:
        folder.with_name(f"full-{rank}.txt").write_text(str(error))
    checkpoint_writer.save_file = save_file


def failing_validation(folder):
    """A run whose validation fails in all processes, right after a checkpoint was begun."""

    def fail():
        raise DataError("nothing to validate with")

    trainer = lm_trainer(folder, save_every=2, validate_every=2)
    trainer.task.validate = fail
    with suppress(DataError):
        trainer.run()


def main(out, rank):
    """Everything that the tests look at, in the folder ``out``."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu"), timeout_s=600.0):
        for mesh in MESHES:
            trainer = lm_trainer(out / mesh, mesh=mesh)
            trainer.run()
            is_split = any(isinstance(value, DTensor) for value in trainer.task.trained.parameters())
            assert is_split == (mesh != "replicate")
            trainer.export(lambda mesh=mesh, trainer=trainer: save(out / mesh / "model.pt", trainer.task.model))
        lm_trainer(out / "bad", spoiled(), mesh="shard", **ONE_IS_BAD).run()
        full_disk(out / "full", rank)
        failing_validation(out / "invalid")
        lm_trainer(out / "fp16", mesh="shard", precision="fp16").run()
        with suppress(Killed):
            lm_trainer(out / "moved", Jingles(end=16), mesh="shard").run(resume=True)
        stopping = Jingles(stop=9)
        try:
            lm_trainer(out / "stopped", stopping if rank == 1 else Jingles()).run()
        except Cancelled as error:
            (out / f"stopped-{rank}.txt").write_text(str(error))
        codec_trainer(out / "codec", codec.Tones(), accumulate=2).run()
        state = quantized(rank, 2)
        torch.save({"quantizer": state, "norms": balanced(rank, 2)}, out / f"quantizer-{rank}.pt")
        (out / f"done-{rank}.json").write_text(json.dumps({"processes": processes.count()}))


def save(file, model):
    torch.save({name: tensor.clone() for name, tensor in model.state_dict().items()}, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["RANK"]))
