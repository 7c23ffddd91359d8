"""How the language model's steps are executed: one folder or file for each way, and the choice among them."""

import torch

from descant.devices import WeightFormat
from descant.errors import InvalidRequest
from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.eager import EagerRuntime
from descant.generation.runtimes.int8_linear import store_in_int8
from descant.generation.runtimes.native import NativeRuntime, is_supported
from descant.generation.runtimes.native.weights import PackedMatrices
from descant.generation.runtimes.static import StaticRuntime
from descant.lm.model import MusicLM

__all__ = ["EagerRuntime", "NativeRuntime", "Runtime", "Session", "StaticRuntime", "packs_weights", "runtime_for"]


def packs_weights(device: torch.device) -> bool:
    """Whether the runtime of this device keeps weights of its own, packed, instead of the model's."""
    return device.type == "cpu" and is_supported()


def runtime_for(
    lm: MusicLM, weight_format: WeightFormat | None = None, packed: PackedMatrices | None = None
) -> Runtime:
    """The runtime for a model on its device: compiled steps on a CPU, static memory on a GPU.

    Args:
        weight_format: what the matrices are rounded to; the model's own are freed then, and it can only generate.
            None keeps them as they are.
        packed: matrices that were packed in this format while the model was loaded, for a CPU.

    Raises:
        InvalidRequest: weights in this format need a runtime that this machine cannot have.
    """
    device = lm.norm.weight.device.type
    if packs_weights(lm.norm.weight.device):
        return NativeRuntime(lm, weight_format, packed=packed)
    if device == "cuda" and weight_format == "int8":
        store_in_int8(lm)
    elif weight_format is not None:
        raise InvalidRequest(f"precision={weight_format!r}: not on this device or processor; use auto")
    return EagerRuntime(lm) if device == "cpu" else StaticRuntime(lm)
