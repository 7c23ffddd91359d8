"""What a run is planned to take against what it takes on this machine."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from descant import presets
from descant.data.token_dataset import TokenBatch, TokenBatchConfig
from descant.errors import InvalidRequest
from descant.lm.model import LMConfig, MusicLM
from descant.model import MusicGenModel
from descant.nn.transformer import TransformerConfig
from descant.patterns import delay
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.plan import CARDS, memory, plan, step_flops
from descant.training.trainer_config import TrainerConfig
from descant.training.update import Updater


def sibling(name):
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"plan_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lm = sibling("test_lm_task")


def model_config(width, num_layers, codebook_size):
    base = lm.tiny_task().musicgen.config
    return replace(
        base,
        lm=LMConfig(
            num_codebooks=4,
            codebook_size=codebook_size,
            transformer=TransformerConfig(width=width, num_heads=4, num_layers=num_layers),
        ),
        pattern=delay(4),
        codec=replace(
            base.codec, quantizer=replace(base.codec.quantizer, num_codebooks=4, codebook_size=codebook_size)
        ),
    )


def measured_bytes(config, batches, trainer):
    """The most that PyTorch had allocated at once in an update, with all that is there between updates."""
    model = MusicGenModel(config, lm.LetterEncoder())
    updater = Updater(LMTask(model, LMTaskConfig()), trainer, torch.device("cpu"))
    rows, frames = batches.batch_size, batches.segment_frames
    batch = TokenBatch(
        torch.randint(0, config.lm.codebook_size, (rows, 4, frames)),
        [{"text": "a"}] * rows,
        torch.ones(rows, frames, dtype=torch.bool),
        [lm.CLIP] * rows,
        torch.zeros(rows),
    )
    for step in (0, 1):
        updater.update(step, [batch] * trainer.accumulate)
    kept = sum(tensor.nbytes for group in updater.tensors().values() for tensor in group.values())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        updater.update(2, [batch] * trainer.accumulate)
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return kept + most


@pytest.mark.parametrize(
    ("width", "num_layers", "codebook_size", "rows", "frames", "changes"),
    [
        (64, 4, 64, 4, 128, {}),
        (128, 2, 64, 2, 256, {"ema_decay": None}),
        (64, 6, 64, 4, 128, {"recompute": True}),
        (128, 4, 64, 1, 64, {"accumulate": 2}),
        (32, 2, 256, 8, 200, {}),
    ],
)
def test_the_planned_memory_is_within_a_tenth_of_what_an_update_takes(
    toy, width, num_layers, codebook_size, rows, frames, changes
):
    config, trainer = model_config(width, num_layers, codebook_size), toy.config(**changes)
    batches = TokenBatchConfig(batch_size=rows, segment_frames=frames)
    planned = memory(config, batches, trainer, num_devices=1, per_node=1, text_tokens=1)
    assert planned.peak == pytest.approx(measured_bytes(config, batches, trainer), rel=0.1)


def test_the_planned_arithmetic_is_that_of_the_forward_pass_and_twice_as_much_backwards():
    shape = TransformerConfig(width=64, num_heads=4, num_layers=3)
    config = replace(presets.tiny(), lm=LMConfig(codebook_size=32, transformer=shape))
    batches = TokenBatchConfig(batch_size=2, segment_frames=32)
    model = MusicLM(replace(config.lm, transformer=replace(config.lm.transformer, has_cross_attention=False)))
    with FlopCounterMode(display=False) as counted:
        model(torch.zeros(2, 4, 33, dtype=torch.long))
    without_cross = replace(config, lm=model.config)
    # PyTorch does not count attention on a CPU: two products, of whose pairs of steps a causal one needs half.
    half_of_pairs = 3 * 2 * 2 * 33 * 33 * 64
    assert step_flops(without_cross, batches) == 3 * (counted.get_total_flops() + half_of_pairs)
    assert step_flops(config, batches) > step_flops(without_cross, batches)


def test_a_plan_splits_an_update_over_the_devices_and_their_memory_with_it():
    batches = TokenBatchConfig(batch_size=8, segment_frames=1_500)
    trainer = TrainerConfig(max_steps=1_000_000, accumulate=24, precision="bf16", mesh="shard-in-node")
    cases = {"per_node": 8, "card": CARDS["h100"], "utilization": 0.4}
    few, many = (plan(presets.medium(), batches, trainer, num_devices=number, **cases) for number in (8, 64))
    assert (few.batch_size, few.accumulate) == (8, 24)
    assert (many.batch_size, many.accumulate) == (3, 64)
    assert few.step_flops == many.step_flops
    assert few.memory.weights == many.memory.weights < few.checkpoint_bytes / 4 / 7
    assert few.network_bytes[1] == 0 < many.network_bytes[1]
    assert many.days < few.days / 5
    whole = plan(presets.medium(), batches, replace(trainer, mesh="replicate"), num_devices=8, **cases)
    assert whole.memory.weights > 7 * few.memory.weights
    for wrong in ({"num_devices": 0}, {"num_devices": 8, "utilization": 1.5}, {"num_devices": 8, "per_node": 0}):
        with pytest.raises(InvalidRequest, match=r"allowed are|a share"):
            plan(presets.medium(), batches, trainer, **{**cases, **wrong})
