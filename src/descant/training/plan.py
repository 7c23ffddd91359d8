"""What a training run of a language model would take: memory, time and network, from its config alone.

Nothing is built. The bytes of a step are counted as PyTorch keeps them in training: every operation's inputs that its
gradient needs (``activation_bytes``), at the two moments when most is held, the beginning of the backward pass and
its end.
"""

import math
from dataclasses import dataclass, replace

from descant.checkpoints.untrained import size_of
from descant.data.token_dataset import TokenBatchConfig
from descant.errors import InvalidRequest
from descant.lm.model import LMConfig
from descant.model import MusicGenConfig
from descant.training.sharding import BUCKET_ELEMENTS
from descant.training.trainer_config import TrainerConfig

FP32 = 4
TEXT_TOKENS = 32
"""Assumed of a caption."""

MAX_DEVICES = 2**17
SLOTS = {None: 2, "d-adaptation": 3, "prodigy": 4}
"""Values that the optimisers keep for each weight."""


@dataclass(frozen=True)
class Card:
    """A GPU, by its maker's data sheet.

    Args:
        flops: floating-point operations a second by precision, dense.
        in_node_bytes_s, between_bytes_s: what one GPU sends to others in its machine, and to other machines.
    """

    memory_bytes: float
    flops: dict[str, float]
    in_node_bytes_s: float
    between_bytes_s: float


CARDS = {
    "a100": Card(80e9, {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12}, 300e9, 25e9),
    "h100": Card(80e9, {"bf16": 989e12, "fp16": 989e12, "fp32": 67e12}, 450e9, 45e9),
    "h200": Card(141e9, {"bf16": 989e12, "fp16": 989e12, "fp32": 67e12}, 450e9, 45e9),
    "l40s": Card(48e9, {"bf16": 362e12, "fp16": 362e12, "fp32": 91.6e12}, 32e9, 25e9),
}
"""Machines of GPUs with NVLink have a network card of 200 or 400 Gbit/s for each."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device.

    Args:
        activations: kept for the backward pass of one batch, logits included.
        gathered: weights and gradients of split units while they are whole.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    gathered: int
    peak: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run on a number of devices.

    Args:
        batch_size, accumulate: for ``data.batches.batch_size`` and ``trainer.accumulate``, so that all devices have
            equally many batches of an update that is as large as the config's, or the next larger one.
        network_bytes: that one device sends in an update, inside its machine and to others.
    """

    num_parameters: int
    batch_size: int
    accumulate: int
    memory: Memory
    step_flops: float
    compute_s: float
    network_bytes: tuple[float, float]
    network_s: float
    samples_per_s: float
    days: float
    checkpoint_bytes: int


def plan(
    model: MusicGenConfig,
    batches: TokenBatchConfig,
    trainer: TrainerConfig,
    *,
    num_devices: int,
    per_node: int,
    card: Card,
    utilization: float,
) -> Plan:
    """The plan of a run.

    Args:
        per_node: devices in a machine.
        utilization: the share of the card's ``flops`` that is reached, between 0 and 1.

    Raises:
        InvalidRequest: one of these is not possible.
    """
    for name, value in (("num_devices", num_devices), ("per_node", per_node)):
        if not 1 <= value <= MAX_DEVICES:
            raise InvalidRequest(f"{name}={value}: allowed are 1 to {MAX_DEVICES}")
    if not 0 < utilization <= 1:
        raise InvalidRequest(f"utilization={utilization:g}: a share of the card's arithmetic, above 0 and up to 1")
    clips = batches.batch_size * trainer.accumulate
    batch_size = min(batches.batch_size, math.ceil(clips / num_devices))
    per_device = math.ceil(clips / (batch_size * num_devices))
    batches = replace(batches, batch_size=batch_size)
    trainer = replace(trainer, accumulate=per_device * num_devices)
    size = size_of(model)
    num_parameters = size.lm + size.conditioners
    # Activations that are computed again are another forward pass.
    flops = step_flops(model, batches) * per_device * (4 / 3 if trainer.recompute else 1)
    compute_s = flops / (card.flops["bf16" if trainer.precision == "auto" else trainer.precision] * utilization)
    sent = _network_bytes(size.lm, size.conditioners, trainer, num_devices, per_node, per_device)
    network_s = sent[0] / card.in_node_bytes_s + sent[1] / card.between_bytes_s
    # FSDP exchanges weights while it computes; gradients of repeated weights are exchanged after the backward pass.
    step_s = compute_s + network_s if trainer.mesh == "replicate" else max(compute_s, network_s)
    clip_samples = batch_size * trainer.accumulate
    return Plan(
        num_parameters=num_parameters,
        batch_size=batch_size,
        accumulate=trainer.accumulate,
        memory=memory(model, batches, trainer, num_devices=num_devices, per_node=per_node),
        step_flops=flops * num_devices,
        compute_s=compute_s,
        network_bytes=sent,
        network_s=network_s,
        samples_per_s=clip_samples / step_s,
        days=trainer.max_steps * step_s / 86_400,
        checkpoint_bytes=FP32 * num_parameters * _copies(trainer),
    )


def _copies(trainer: TrainerConfig) -> int:
    """Values that are stored for each weight: itself, the optimiser's and its average."""
    return 1 + SLOTS[trainer.optimizer.adaptation] + (trainer.ema_decay is not None)


def memory(
    model: MusicGenConfig,
    batches: TokenBatchConfig,
    trainer: TrainerConfig,
    *,
    num_devices: int,
    per_node: int,
    text_tokens: int = TEXT_TOKENS,
) -> Memory:
    """The bytes on one device in an update; weights, gradients and optimiser state are float32."""
    size = size_of(model)
    parts = {"replicate": 1, "shard": num_devices, "shard-in-node": min(per_node, num_devices)}[trainer.mesh]
    own = FP32 * (math.ceil(size.lm / parts) + size.conditioners)
    average = 0 if trainer.ema_decay is None else own
    state = _copies(trainer) * own
    is_half = trainer.precision != "fp32"
    kept = activation_bytes(model.lm, batches, is_half=is_half, recompute=trainer.recompute, text_tokens=text_tokens)
    logits = _logits_bytes(model.lm, batches)
    # Autocast keeps a 16-bit copy of each matrix until the end of the forward pass.
    copies = 2 * size.lm if is_half and parts == 1 else 0
    gathered = 0 if parts == 1 else _gathered_bytes(model.lm)
    bucket = 0 if num_devices == 1 else min(own, FP32 * BUCKET_ELEMENTS) * 2
    carried = own if trainer.accumulate > num_devices else 0
    at_forward_end = carried + kept + logits + copies + gathered
    at_backward_end = max(carried, own) + gathered + bucket
    return Memory(
        weights=own,
        gradients=own,
        optimizer=SLOTS[trainer.optimizer.adaptation] * own,
        average=average,
        activations=kept + logits,
        gathered=gathered,
        peak=state + max(at_forward_end, at_backward_end),
    )


def activation_bytes(
    lm: LMConfig, batches: TokenBatchConfig, *, is_half: bool, recompute: bool, text_tokens: int = TEXT_TOKENS
) -> int:
    """What the blocks and norms of a language model keep for the backward pass of one batch.

    In units of the width for each step: self-attention keeps its input, the normed input, queries, keys, values and
    result (6); cross-attention its input, the normed input, queries and result (4); the MLP its input, the normed input
    and, ``mlp_scale`` times as wide, what goes into GELU and what comes out (2 + 2 * 4). Attention that is computed in
    blocks keeps no weights. Under autocast the inputs of norms stay float32, the rest has 16 bits.
    """
    transformer = lm.transformer
    rows = batches.batch_size * (batches.segment_frames + 1) * transformer.width
    matrix = 2 if is_half else FP32
    inputs, others = 2, 5 + 1 + 2 * transformer.mlp_scale
    context = 0
    if transformer.has_cross_attention:
        inputs, others = inputs + 1, others + 3
        context = 2 * batches.batch_size * text_tokens * transformer.width * matrix
    block = rows * (inputs * FP32 + others * matrix) + context
    ends = rows * (FP32 + matrix)
    if recompute:
        return transformer.num_layers * rows * FP32 + block + ends
    return transformer.num_layers * block + ends


def _logits_bytes(lm: LMConfig, batches: TokenBatchConfig) -> int:
    """The log-softmax of all logits and the gradients of both, which exist together, in float32."""
    num = batches.batch_size * (batches.segment_frames + 1) * lm.num_codebooks * lm.codebook_size
    return 3 * FP32 * num


def _block_parameters(lm: LMConfig) -> int:
    transformer = lm.transformer
    attention = 8 if transformer.has_cross_attention else 4
    return (attention + 2 * transformer.mlp_scale) * transformer.width**2


def _gathered_bytes(lm: LMConfig) -> int:
    """Two blocks and their gradients, one being computed and one on its way, and embeddings and heads all the time."""
    ends = 2 * lm.num_codebooks * lm.codebook_size * lm.transformer.width
    return FP32 * 2 * (2 * _block_parameters(lm) + ends)


def step_flops(model: MusicGenConfig, batches: TokenBatchConfig) -> float:
    """Floating-point operations of the forward and backward pass of one batch, without those computed again.

    Two for each weight of a matrix and each step, and for causal attention half of all pairs of steps; the backward
    pass takes twice as many.
    """
    lm = model.lm
    steps = batches.segment_frames + 1
    matrices = lm.transformer.num_layers * _block_parameters(lm) + lm.num_codebooks * lm.codebook_size * (
        lm.transformer.width
    )
    attention = lm.transformer.num_layers * 2 * steps * lm.transformer.width
    return 3.0 * batches.batch_size * steps * (2 * matrices + attention)


def _network_bytes(
    lm: int, repeated: int, trainer: TrainerConfig, num_devices: int, per_node: int, per_device: int
) -> tuple[float, float]:
    """Bytes that a device sends in an update, inside its machine and to other machines.

    A sum over n devices sends 2 (n - 1) / n of a tensor from each; gathering or scattering it, half of that. Split
    weights are gathered for the forward and for the backward pass of every batch, and their gradients scattered.
    """
    in_node = min(per_node, num_devices)
    num_nodes = math.ceil(num_devices / per_node)
    if trainer.mesh == "replicate":
        total = 2 * FP32 * (lm + repeated) * (num_devices - 1) / num_devices
        return (total, 0.0) if num_nodes == 1 else (total * (in_node - 1) / in_node, total / in_node)
    summed = 2 * FP32 * repeated * (num_devices - 1) / num_devices
    if trainer.mesh == "shard":
        total = 3 * FP32 * lm * per_device * (num_devices - 1) / num_devices + summed
        return (total, 0.0) if num_nodes == 1 else (total * (in_node - 1) / in_node, total / in_node)
    inside = 3 * FP32 * lm * per_device * (in_node - 1) / in_node + summed
    return inside, 2 * FP32 * lm / in_node * per_device * (num_nodes - 1) / num_nodes
