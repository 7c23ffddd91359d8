"""Sequences that come bit by bit: stages that take pieces and give, without delay, every step that is certain.

What a stage has given is never given again, and it keeps no more of the past than later steps need. Cut a sequence as
you like: the pieces that come out, put together, are what the layer makes of the whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class StreamStage(ABC):
    """One layer at work on one sequence. It starts at the first step and is thrown away after the last."""

    @abstractmethod
    def push(self, piece: Tensor, is_last: bool) -> Tensor:
        """The output steps that this piece makes certain, maybe none.

        Args:
            piece: the next steps, maybe none, but at least one in the whole sequence.
            is_last: nothing comes after it, so all that is left is given.
        """

    @abstractmethod
    def last_needed(self, step: int) -> int:
        """The input step that must be there before that output step is given."""


@runtime_checkable
class Streamable(Protocol):
    """A layer that can work on pieces."""

    def stream(self) -> StreamStage:
        """A fresh stage of this layer."""
        ...


class Each(StreamStage):
    """A function that makes one step of each step, looking at no other."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def push(self, piece: Tensor, is_last: bool) -> Tensor:  # noqa: ARG002
        return self.function(piece)

    def last_needed(self, step: int) -> int:
        return step


class Chain(StreamStage):
    """Stages behind each other; without any, what comes goes."""

    def __init__(self, *stages: StreamStage) -> None:
        self.stages = stages

    def push(self, piece: Tensor, is_last: bool) -> Tensor:
        for stage in self.stages:
            piece = stage.push(piece, is_last)
        return piece

    def last_needed(self, step: int) -> int:
        for stage in reversed(self.stages):
            step = stage.last_needed(step)
        return step


class Sum(StreamStage):
    """Two stages beside each other, their outputs added; the quicker one waits for the other.

    Args:
        dim: the dimension of time.
    """

    def __init__(self, one: StreamStage, other: StreamStage, dim: int = -1) -> None:
        self.branches = [(one, Backlog(dim)), (other, Backlog(dim))]
        self.dim = dim

    def push(self, piece: Tensor, is_last: bool) -> Tensor:
        for stage, backlog in self.branches:
            backlog.add(stage.push(piece, is_last))
        num_ready = min(len(backlog) for _, backlog in self.branches)
        one, other = (backlog.take(num_ready) for _, backlog in self.branches)
        return one + other

    def last_needed(self, step: int) -> int:
        return max(stage.last_needed(step) for stage, _ in self.branches)


class Backlog:
    """Steps that wait, first in, first out.

    Args:
        dim: the dimension of time.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.waiting: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.waiting is None else self.waiting.shape[self.dim]

    def add(self, piece: Tensor) -> None:
        """Puts steps behind those that wait."""
        self.waiting = piece if self.waiting is None else torch.cat([self.waiting, piece], dim=self.dim)

    def take(self, count: int) -> Tensor:
        """The first ``count`` steps, which no longer wait."""
        assert self.waiting is not None, "nothing was ever added"
        taken, kept = self.waiting.split([count, len(self) - count], dim=self.dim)
        # Copies: a view would keep alive all that the piece was cut from, and with gaps between the rows of a batch
        # torch takes other functions, of other last bits.
        self.waiting = kept.clone(memory_format=torch.contiguous_format)
        return taken.contiguous()
