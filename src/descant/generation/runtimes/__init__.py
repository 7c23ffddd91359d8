"""How the language model's steps are executed: one file for each way, and the choice among them."""

from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.native import NativeRuntime
from descant.lm.model import MusicLM

__all__ = ["NativeRuntime", "Runtime", "Session", "runtime_for"]


def runtime_for(lm: MusicLM) -> Runtime:
    """x"""
    return NativeRuntime(lm)
