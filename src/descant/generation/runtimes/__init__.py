"""How the language model's steps are executed: one file for each way, and the choice among them."""

from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.eager import EagerRuntime
from descant.generation.runtimes.packed_cpu import PackedCpuRuntime
from descant.lm.model import MusicLM

__all__ = ["EagerRuntime", "PackedCpuRuntime", "Runtime", "Session", "runtime_for"]


def runtime_for(lm: MusicLM) -> Runtime:
    """The runtime for a model on its device: packed weights on a CPU, PyTorch's own operations elsewhere."""
    return PackedCpuRuntime(lm) if lm.norm.weight.device.type == "cpu" else EagerRuntime(lm)
