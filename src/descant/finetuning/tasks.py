"""What a fine-tuning run trains, on what, and for how many steps."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from descant.checkpoints.adapters import AdapterInfo, save_adapter
from descant.checkpoints.native import save_model
from descant.codec.spec import codec_spec
from descant.data.corpus import read_corpus
from descant.data.manifest import Split
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.trigger import TriggeredBatches, with_trigger
from descant.errors import ConfigError
from descant.finetuning.config import FineTuneRun
from descant.model import MusicGenModel
from descant.studies.speed.timing import timed
from descant.training.adapters import AdapterTask
from descant.training.anchor import AnchoredTask
from descant.training.lm import LMTask
from descant.training.machine import cpu_threads, resolved_precision
from descant.training.precision import forward_precision
from descant.training.recompute import recompute_blocks
from descant.training.task import StepContext
from descant.training.trainer_config import TrainerConfig

NUM_VALIDATIONS = 12
VALIDATION_SHARE = 0.15
"""Of the time, in a run whose number of steps follows from its minutes; so many validations are spread over it."""
TIMED_STEPS = 2
RECOMPUTE_FROM = 100_000_000
"""Parameters of the language model."""


@dataclass(frozen=True)
class Training:
    """A task with its batches, and how to keep what it has learned.

    Args:
        trainer: the config of the run for this model, before its steps are planned.
        identity: of the data, as plain data.
        keep: writes the weights as they are now to a folder; inside ``Trainer.averaged_model`` the averaged ones.
    """

    task: AnchoredTask
    batches: TriggeredBatches
    trainer: TrainerConfig
    identity: dict[str, object]
    keep: Callable[[Path], None]


def make_training(run: FineTuneRun, model: MusicGenModel, tokens: Path, info: AdapterInfo) -> Training:
    """The training of an adapter over a model, or of the model itself.

    Args:
        info: what an adapter's files say of it.

    Raises:
        ConfigError: the crops are longer than those that the model was trained on, or it does not read captions.
        DataError: the tokens are missing or broken.
    """
    batches = _batches_for(run, model)
    corpus = read_corpus(tokens)
    assert corpus.index.codec == codec_spec(model.codec), "tokenize refuses the codes of another codec"
    training, held_out = (TokenBatches(corpus, replace(batches, split=split)) for split in get_args(Split))
    num_batches = -(-run.num_validation_crops // batches.batch_size)
    trigger = run.trigger_word
    validation = [with_trigger(batch, trigger) for batch in held_out.fixed_batches(num_batches)]
    tuned: LMTask
    if run.lora is None:
        original = copy.deepcopy(model)
        model.lm.requires_grad_(True)
        for conditioner in model.conditioners:
            conditioner.requires_grad_(conditioner.is_trainable)
        tuned = LMTask(model, run.task, validation)
    else:
        original = model
        tuned = AdapterTask(model, run.lora, run.task, validation, seed=run.trainer.seed)
    num_parameters = sum(parameter.numel() for parameter in model.lm.parameters())
    if num_parameters > RECOMPUTE_FROM if run.recompute is None else run.recompute:
        recompute_blocks(tuned.lm)
    tuned.captions.name_long_ones(training.clips, batches.captions)

    def keep(folder: Path) -> None:
        if isinstance(tuned, AdapterTask):
            save_adapter(tuned.adapter, tuned.lora, folder, info)
        else:
            save_model(model, folder)

    return Training(
        task=AnchoredTask(tuned, LMTask(original, run.task), run.anchor),
        batches=TriggeredBatches(training, trigger),
        trainer=_trainer_for(run, model, batches.batch_size),
        identity={"tokens": training.identity, "segment_frames": batches.segment_frames, "trigger": trigger},
        keep=keep,
    )


def _batches_for(run: FineTuneRun, model: MusicGenModel) -> TokenBatchConfig:
    """Crops as long as the run or the model says, and as many in a batch as memory has room for."""
    if model.config.clap is not None and model.config.clap.replaces_text:
        raise ConfigError(
            f"model={run.model!r:.200}: it was trained without captions, which tell tuned music apart here"
        )
    longest_s = model.config.max_duration_s
    segment_s = longest_s if run.segment_s is None else run.segment_s
    if segment_s > longest_s:
        raise ConfigError(f"segment_s={segment_s:g}: the model was trained on up to {longest_s:g} s")
    segment_frames = max(1, int(segment_s * model.codec.frame_rate_hz))
    num_rows = max(1, min(run.batches.batch_size, run.max_batch_frames // segment_frames))
    return replace(run.batches, segment_frames=segment_frames, batch_size=num_rows)


def _trainer_for(run: FineTuneRun, model: MusicGenModel, num_rows: int) -> TrainerConfig:
    """The learning rate for the model's width, and gradients of as many batches as make the run's batch."""
    optimizer = run.trainer.optimizer
    if run.lr_width is not None:
        optimizer = replace(optimizer, lr=optimizer.lr * run.lr_width / model.config.lm.transformer.width)
    accumulate = run.trainer.accumulate * -(-run.batches.batch_size // num_rows)
    return replace(run.trainer, optimizer=optimizer, accumulate=accumulate)


def planned(training: Training, minutes: float | None) -> TrainerConfig:
    """The trainer's config with as many steps as fit into the minutes, up to its own, and validations spread over them.

    A few steps are timed for it, without an update.

    Args:
        minutes: None changes nothing.
    """
    config = training.trainer
    if minutes is None:
        return config
    num_steps = int((1 - VALIDATION_SHARE) * 60 * minutes / (config.accumulate * _seconds_per_batch(training)))
    max_steps = max(1, min(config.max_steps, num_steps))
    every = -(-max_steps // NUM_VALIDATIONS)
    return replace(config, max_steps=max_steps, validate_every=every, save_every=every)


def _seconds_per_batch(training: Training) -> float:
    """What a batch takes in the run's precision, once memory and kernels are there."""
    parameters = training.task.parameters()["lm"].values()
    device = next(iter(parameters)).device
    precision = resolved_precision(training.trainer.precision, device)

    def forward_and_backward(steps: range) -> None:
        for step in steps:
            context = StepContext(step, torch.Generator().manual_seed(step), {})
            with torch.random.fork_rng(devices=[]), forward_precision(precision, device):
                loss, _ = training.task.loss("lm", training.batches.batch(step), context)
            loss.backward()  # type: ignore[no-untyped-call]

    with cpu_threads(training.trainer.num_threads):
        forward_and_backward(range(1))
        seconds = timed(lambda: forward_and_backward(range(1, 1 + TIMED_STEPS)), device)
    for parameter in parameters:
        parameter.grad = None
    return seconds / TIMED_STEPS
