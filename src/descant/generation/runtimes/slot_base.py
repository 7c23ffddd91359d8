"""Temporary: the interface of the branch ``slots``."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs


class Session(ABC):
    @abstractmethod
    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]: ...

    @abstractmethod
    def step(self, slots: Sequence[int], codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]: ...

    @abstractmethod
    def leave(self, slots: Sequence[int]) -> None: ...


class Runtime(ABC):
    def __init__(self, lm: MusicLM) -> None:
        self.lm = lm

    @abstractmethod
    def start(self) -> Session: ...
