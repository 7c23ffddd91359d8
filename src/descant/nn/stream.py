"""Streaming layers: stages that take chunks of a sequence and return every output step as soon as it is final.

Time is the second dimension of chunks, but for waves [B, C, N] and codes [B, K, T].

A stage returns each step once and keeps no more of the past than later steps need. However a sequence is cut into
chunks, the outputs, concatenated, are the layer's output for the whole sequence.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class StreamStage(ABC):
    """The state of one layer over one sequence. It starts at the first step and is discarded after the last."""

    @abstractmethod
    def push(self, chunk: Tensor, is_last: bool) -> Tensor:
        """The output steps that this chunk makes final, possibly none.

        Args:
            chunk: the next steps, possibly none, but at least one in the whole sequence.
            is_last: no steps follow, so all remaining output is returned.
        """

    @abstractmethod
    def last_needed(self, step: int) -> int:
        """The last input step that output step ``step`` depends on."""


@runtime_checkable
class Streamable(Protocol):
    """A layer that can process chunks."""

    def stream(self) -> StreamStage:
        """A fresh stage of this layer."""
        ...


class Each(StreamStage):
    """A function that maps each step on its own."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def push(self, chunk: Tensor, is_last: bool) -> Tensor:  # noqa: ARG002
        return self.function(chunk)

    def last_needed(self, step: int) -> int:
        return step


class Chain(StreamStage):
    """Stages in sequence; without any, the identity."""

    def __init__(self, *stages: StreamStage) -> None:
        self.stages = stages

    def push(self, chunk: Tensor, is_last: bool) -> Tensor:
        for stage in self.stages:
            chunk = stage.push(chunk, is_last)
        return chunk

    def last_needed(self, step: int) -> int:
        for stage in reversed(self.stages):
            step = stage.last_needed(step)
        return step


class InBlocks(StreamStage):
    """A stage whose chunks are processed a few steps at a time, so that all they become stays in the cache.

    Args:
        steps: of the stage's input, at once.
        dim: the dimension of time, of inputs and outputs.
    """

    def __init__(self, stage: StreamStage, steps: int, dim: int = 1) -> None:
        self.stage, self.steps, self.dim = stage, steps, dim

    def push(self, chunk: Tensor, is_last: bool) -> Tensor:
        *blocks, last = chunk.split(self.steps, dim=self.dim)
        outputs = [self.stage.push(block, is_last=False) for block in blocks]
        return torch.cat([*outputs, self.stage.push(last, is_last)], dim=self.dim)

    def last_needed(self, step: int) -> int:
        return self.stage.last_needed(step)


class Sum(StreamStage):
    """Two stages in parallel, their outputs added; the one that is ahead waits for the other."""

    def __init__(self, one: StreamStage, other: StreamStage) -> None:
        self.branches = [(one, Backlog()), (other, Backlog())]

    def push(self, chunk: Tensor, is_last: bool) -> Tensor:
        for stage, backlog in self.branches:
            backlog.add(stage.push(chunk, is_last))
        num_ready = min(len(backlog) for _, backlog in self.branches)
        one, other = (backlog.take(num_ready) for _, backlog in self.branches)
        return one + other

    def last_needed(self, step: int) -> int:
        return max(stage.last_needed(step) for stage, _ in self.branches)


class Backlog:
    """A queue of steps, first in, first out."""

    def __init__(self) -> None:
        self.waiting: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.waiting is None else self.waiting.shape[1]

    def add(self, chunk: Tensor) -> None:
        """Appends steps."""
        self.waiting = chunk if self.waiting is None or not len(self) else torch.cat([self.waiting, chunk], dim=1)

    def take(self, count: int) -> Tensor:
        """Removes and returns the first ``count`` steps."""
        assert self.waiting is not None, "nothing was ever added"
        taken, kept = self.waiting.split([count, len(self) - count], dim=1)
        # Copies: a view would keep the whole tensor in memory, and with gaps between the rows of a batch torch uses
        # other kernels, whose last bits differ.
        self.waiting = kept.clone(memory_format=torch.contiguous_format)
        return taken.contiguous()
