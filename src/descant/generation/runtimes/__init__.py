"""How the language model's steps are executed: one file for each way, and the choice among them."""

from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.eager import EagerRuntime
from descant.lm.model import MusicLM

__all__ = ["EagerRuntime", "Runtime", "Session", "runtime_for"]


def runtime_for(lm: MusicLM) -> Runtime:
    """The runtime for a model."""
    return EagerRuntime(lm)
