"""Training of one model of a row by the ordinary trainer: it can be stopped anywhere, and the next call goes on."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from descant.atomic import write_atomically
from descant.checkpoints.native import load_model, load_text_encoder, starter_folder
from descant.codec.spec import codec_spec
from descant.config import to_dict
from descant.errors import ConfigError, DataError
from descant.lm.init import start_from_codebooks
from descant.model import MusicGenModel
from descant.nn.rvq import ResidualVectorQuantizer
from descant.studies.ablation.data import StudyData
from descant.studies.ablation.run import AblationRun
from descant.training.checkpoint import checkpoints
from descant.training.environment import refuse_several_processes
from descant.training.lm import LMTask
from descant.training.run_folder import LOG_NAME
from descant.training.trainer import Trainer

WEIGHTS = "weights.safetensors"
TIMES = "seconds.jsonl"


def trained_model(stage: AblationRun, data: StudyData, folder: Path) -> MusicGenModel:
    """The trained model, from its folder if it is there; else it is trained, or its training goes on.

    Its checkpoints are deleted at the end; the weights, the log and the seconds stay.

    Raises:
        Cancelled: a signal stopped the training, which is saved; the next call goes on.
        DataError: its folder is damaged.
        InvalidRequest: it is trained by one process, and several were started together.
    """
    refuse_several_processes()
    model = new_model(stage, data)
    task = LMTask(model, stage.task)
    if not (folder / WEIGHTS).exists():
        batches = data.batches(stage.batches, model.config)
        identity = {"tokens": batches.identity, "batches": to_dict(stage.batches)}
        trainer = Trainer(task, batches, stage.trainer, folder, run_identity=identity)
        has_begun = bool(checkpoints(folder)) or (folder / LOG_NAME).exists()
        with _timed(folder):
            result = trainer.run(resume=has_begun)
        if not result.finished:
            raise ConfigError("trainer.max_minutes: a row is trained to its last step; leave the limit out")
        with trainer.averaged_model() as averaged:
            write_atomically(folder / WEIGHTS, save(_tensors(averaged)))
        for checkpoint in checkpoints(folder):
            shutil.rmtree(checkpoint)
    try:
        task.trained.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{folder / WEIGHTS}: does not fit this row ({error}); delete the folder") from error
    return model.eval().requires_grad_(False)


def new_model(stage: AblationRun, data: StudyData) -> MusicGenModel:
    """The model as its training begins, which depends on the seed alone."""
    codec, shape = data.codec()
    torch.manual_seed(stage.trainer.seed)
    config = replace(stage.model, codec=shape)
    model = MusicGenModel(config, load_text_encoder(config))
    model.codec.load_state_dict(codec.state_dict())
    if stage.starts_from_starter:
        _start_from(load_model(starter_folder()), model)
        return model
    quantizer = getattr(codec, "quantizer", None)
    if stage.starts_from_codebooks:
        if not isinstance(quantizer, ResidualVectorQuantizer):
            raise ConfigError("starts_from_codebooks: this codec has no codebooks of its own; switch it off")
        codebooks: list[Tensor] = [level.get_buffer("codebook") for level in quantizer.levels]
        start_from_codebooks(model.lm.embeddings, model.lm.heads, codebooks)
    return model


def _start_from(starter: MusicGenModel, model: MusicGenModel) -> None:
    """Loads the starter's weights, but for conditioners that it does not have.

    Raises:
        ConfigError: the model has another shape, or its codec other codes.
    """
    if codec_spec(starter.codec) != codec_spec(model.codec):
        raise ConfigError("starts_from_starter: the codes of the data are not those of the starter's codec")
    weights, own = starter.state_dict(), model.state_dict()
    names = {part.name for part in model.conditioners} - {part.name for part in starter.conditioners}
    added = {name: own[name] for name in own if name.partition(".")[0] in names}
    try:
        model.load_state_dict({**weights, **added})
    except RuntimeError as error:
        raise ConfigError(f"starts_from_starter: the row has not the starter's shape ({error})") from error


def training_seconds(folder: Path) -> dict[str, float]:
    """The processor and wall seconds of a training, over all of its sessions that could write them down."""
    lines = (folder / TIMES).read_text(encoding="utf-8").splitlines() if (folder / TIMES).exists() else []
    sessions: list[dict[str, float]] = [json.loads(line) for line in lines]
    return {name: sum(session[name] for session in sessions) for name in ("processor_s", "wall_s")}


def num_parameters(stage: AblationRun, model: MusicGenModel) -> int:
    """The parameters that the training reaches: without the heads of codebooks that this model does not draw, and
    without the embeddings of those that it never reads.
    """
    lm = model.lm
    left_out = [head for index, head in enumerate(lm.heads) if index not in stage.codebooks]
    last_read = stage.model.pattern.training_length(stage.num_frames)
    first_steps = stage.model.pattern.steps(stage.num_frames)[:, 0]
    left_out += [table for table, first in zip(lm.embeddings, first_steps, strict=True) if int(first) >= last_read]
    unused = {id(parameter) for module in left_out for parameter in module.parameters()}
    trained = LMTask(model, stage.task).trained
    return sum(parameter.numel() for parameter in trained.parameters() if id(parameter) not in unused)


def _tensors(module: nn.Module) -> dict[str, Any]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


@contextmanager
def _timed(folder: Path) -> Iterator[None]:
    """Notes the seconds of a session in the folder, however it ends."""
    processor_s, wall_s = time.process_time(), time.monotonic()
    try:
        yield
    finally:
        session = {"processor_s": time.process_time() - processor_s, "wall_s": time.monotonic() - wall_s}
        if folder.is_dir():
            with (folder / TIMES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(session) + "\n")
