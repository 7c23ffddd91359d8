"""How the language model's steps are executed, and the choice of a way for a model."""

from dataclasses import dataclass

from descant.lm.model import MusicLM


@dataclass(frozen=True)
class Runtime:
    """Executes the steps of one language model."""

    lm: MusicLM


def runtime_for(lm: MusicLM) -> Runtime:
    """The runtime for a model on its device."""
    return Runtime(lm)
