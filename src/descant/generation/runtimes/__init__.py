"""How the language model's steps are executed: one file for each way, and the choice among them."""

from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.eager import EagerRuntime
from descant.generation.runtimes.static import StaticRuntime
from descant.lm.model import MusicLM

__all__ = ["EagerRuntime", "Runtime", "Session", "StaticRuntime", "runtime_for"]


def runtime_for(lm: MusicLM) -> Runtime:
    """The runtime for a model on its device: static memory on a GPU, the model's own forward pass elsewhere."""
    return StaticRuntime(lm) if lm.norm.weight.device.type in ("cuda", "mps") else EagerRuntime(lm)
