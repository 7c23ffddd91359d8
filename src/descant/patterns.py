"""Codebook patterns: in which order the K codes of a frame are predicted.

A pattern is one table, ``steps[k, t]``: the sequence step that holds code k of frame t. Step 0 is the start token.
Interleaving is one scatter and its inverse one gather, the same for every pattern (arXiv 2306.05284, section 2.2).
A model that has read steps 0 to s - 1 predicts step s, so the logits of code (k, t) lie at position
``steps[k, t] - 1`` of its output.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descant.errors import ConfigError

MAX_DELAY = 10_000
"""More steps are an invalid config, for which no sequence could be long enough."""


class Pattern(ABC):
    """An order of prediction. A new one is a frozen dataclass with ``num_codebooks`` and ``steps``.

    Attributes:
        depends_on_length: the order of the first frames depends on how many follow. A model that was trained on clips
            of one length can then only generate clips of that length.
    """

    num_codebooks: int
    depends_on_length: ClassVar[bool] = False

    @abstractmethod
    def steps(self, num_frames: int) -> Int[Tensor, "K T"]:
        """The step of every code, 1 or later, rising with time in each codebook."""

    def length(self, num_frames: int) -> int:
        """Steps of the whole sequence, start token included."""
        return int(self.steps(num_frames).max()) + 1

    def training_length(self, num_frames: int) -> int:
        """Steps that are trained on, start token included; codes at later steps are in no loss."""
        return self.length(num_frames)


@dataclass(frozen=True)
class Delay(Pattern):
    """Codebook k runs ``delays[k]`` steps late.

    With K=3, T=4 and ``_`` for an empty cell::

        step  0  1  2  3  4  5  6
        k=0   _  a  b  c  d  _  _
        k=1   _  _  a  b  c  d  _
        k=2   _  _  _  a  b  c  d
    """

    delays: tuple[int, ...] = (0, 1, 2, 3)

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) < 0:
            raise ConfigError(f"delays={self.delays}: give one number of steps, 0 or more, for each codebook")
        if max(self.delays) > MAX_DELAY:
            raise ConfigError(f"delays={self.delays}: at most {MAX_DELAY} steps")

    @property
    def num_codebooks(self) -> int:  # type: ignore[override]
        """One codebook per delay."""
        return len(self.delays)

    def steps(self, num_frames: int) -> Int[Tensor, "K T"]:
        return 1 + torch.arange(num_frames) + torch.tensor(self.delays)[:, None]

    def training_length(self, num_frames: int) -> int:
        """Only the first T + 1 steps: the later ones hold nothing but the tails of delayed codebooks, which the
        released models were never trained on (audiocraft, Pattern.valid_layout).
        """
        return num_frames + 1


@dataclass(frozen=True)
class _Counted(Pattern):
    """A pattern that depends only on the number of codebooks."""

    num_codebooks: int = 4

    def __post_init__(self) -> None:
        if self.num_codebooks < 1:
            raise ConfigError(f"num_codebooks={self.num_codebooks}: a pattern needs at least one")


@dataclass(frozen=True)
class Flatten(_Counted):
    """One code per step, frame after frame: the exact factorisation, at K times the steps.

    With K=2, T=3::

        step  0  1  2  3  4  5  6
        k=0   _  a  _  b  _  c  _
        k=1   _  _  a  _  b  _  c
    """

    def steps(self, num_frames: int) -> Int[Tensor, "K T"]:
        return 1 + torch.arange(num_frames) * self.num_codebooks + torch.arange(self.num_codebooks)[:, None]


@dataclass(frozen=True)
class PartialFlatten(_Counted):
    """Two steps per frame: the first codebook alone, then the others together.

    With K=3, T=3::

        step  0  1  2  3  4  5  6
        k=0   _  a  _  b  _  c  _
        k=1   _  _  a  _  b  _  c
        k=2   _  _  a  _  b  _  c
    """

    def steps(self, num_frames: int) -> Int[Tensor, "K T"]:
        return 1 + 2 * torch.arange(num_frames) + torch.arange(self.num_codebooks).clamp(max=1)[:, None]


@dataclass(frozen=True)
class CoarseFirst(Pattern):
    """The first codebook over the whole clip, then the others together, ``delays[k]`` steps late (VALL-E's order).

    With K=3, T=3 and delays (0, 0, 1)::

        step  0  1  2  3  4  5  6  7
        k=0   _  a  b  c  _  _  _  _
        k=1   _  _  _  _  a  b  c  _
        k=2   _  _  _  _  _  a  b  c
    """

    depends_on_length: ClassVar[bool] = True
    delays: tuple[int, ...] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        if not self.delays or self.delays[0] != 0 or min(self.delays) < 0:
            raise ConfigError(
                f"delays={self.delays}: give one number of steps, 0 or more, for each codebook; the first one is 0, "
                "as the coarse codebook goes before the others"
            )

    @property
    def num_codebooks(self) -> int:  # type: ignore[override]
        """One codebook per delay."""
        return len(self.delays)

    def steps(self, num_frames: int) -> Int[Tensor, "K T"]:
        starts = torch.tensor([0, *(num_frames + delay for delay in self.delays[1:])])
        return 1 + torch.arange(num_frames) + starts[:, None]


@dataclass(frozen=True)
class Grouped(Pattern):
    """Groups of codebooks one after another over the whole clip, each flattened (MusicLM's coarse and fine stages).

    With K=4, groups of 2 and T=2::

        step  0  1  2  3  4  5  6  7  8
        k=0   _  a  _  b  _  _  _  _  _
        k=1   _  _  a  _  b  _  _  _  _
        k=2   _  _  _  _  _  a  _  b  _
        k=3   _  _  _  _  _  _  a  _  b
    """

    depends_on_length: ClassVar[bool] = True
    num_codebooks: int = 4
    group_size: int = 2

    def __post_init__(self) -> None:
        if self.group_size < 1 or self.num_codebooks < 1 or self.num_codebooks % self.group_size:
            raise ConfigError(
                f"num_codebooks={self.num_codebooks} cannot be cut into groups of group_size={self.group_size}: "
                "choose a group_size that divides it"
            )

    def steps(self, num_frames: int) -> Int[Tensor, "K T"]:
        codebook = torch.arange(self.num_codebooks)[:, None]
        group = codebook.div(self.group_size, rounding_mode="floor")
        frame = torch.arange(num_frames)
        return 1 + (group * num_frames + frame) * self.group_size + codebook % self.group_size


AnyPattern: TypeAlias = Delay | Flatten | PartialFlatten | CoarseFirst | Grouped
"""Every pattern, for the field of a config."""


def parallel(num_codebooks: int) -> Delay:
    """All codes of a frame in one step."""
    return Delay(delays=(0,) * num_codebooks)


def delay(num_codebooks: int) -> Delay:
    """Each codebook one step after the one before: the paper's choice."""
    return Delay(delays=tuple(range(num_codebooks)))


def partial_delay(num_codebooks: int) -> Delay:
    """The first codebook at once, all others one step later."""
    return Delay(delays=(0, *(1,) * (num_codebooks - 1)))


def stereo_delay(num_codebooks: int) -> Delay:
    """Left and right one step apart, level after level: 0 1 2 3 4 5 6 7 for the 8 codebooks of both sides."""
    _check_stereo(num_codebooks)
    return delay(num_codebooks)


def stereo_partial_delay(num_codebooks: int) -> Delay:
    """Left and right together, a step between levels: 0 0 1 1 2 2 3 3 for 8 codebooks, as in the released models."""
    _check_stereo(num_codebooks)
    return Delay(delays=tuple(codebook // 2 for codebook in range(num_codebooks)))


def _check_stereo(num_codebooks: int) -> None:
    if num_codebooks % 2:
        raise ConfigError(f"num_codebooks={num_codebooks}: a stereo pattern counts those of both sides, an even number")


def interleave(codes: Int[Tensor, "B K T"], steps: Int[Tensor, "K T"], length: int, empty: int) -> Int[Tensor, "B K S"]:
    """Codes in sequence order, ``length`` steps long; cells that no code fills hold ``empty``.

    Codes whose step lies at or beyond ``length`` are left out: that is how a training sequence ends early.
    """
    batch, num_codebooks, _ = codes.shape
    # One extra cell takes every code that lies beyond, and is then cut off.
    sequence = codes.new_full((batch, num_codebooks, length + 1), empty)
    cells = steps.to(codes.device).clamp(max=length).expand(batch, -1, -1)
    return sequence.scatter(2, cells, codes)[:, :, :length]


def deinterleave(sequence: Int[Tensor, "B K S"], steps: Int[Tensor, "K T"]) -> Int[Tensor, "B K T"]:
    """Codes in frame order, from a sequence that is long enough to hold them all."""
    return sequence.gather(2, steps.to(sequence.device).expand(len(sequence), -1, -1))


def frames_of_inputs(steps: Int[Tensor, "K T"], length: int) -> Float[Tensor, " S"]:
    """The frame that each of the first ``length`` input steps predicts: the latest one with a code in the next step.

    Steps that predict nothing, such as the last one, have the frame of the step before them.
    """
    frames = torch.arange(steps.shape[1]).expand(len(steps), -1).reshape(-1)
    cells = (steps - 1).clamp(max=length).reshape(-1)
    predicted = torch.full((length + 1,), -1).scatter_reduce(0, cells.cpu(), frames, "amax")[:length]
    latest = torch.where(predicted >= 0, torch.arange(length), 0).cummax(dim=0).values
    return predicted[latest].clamp(min=0).float()


def filled(steps: Int[Tensor, "K T"], length: int) -> Bool[Tensor, "K S"]:
    """True for the cells of the first ``length`` steps that hold a code."""
    cells = steps.new_zeros((len(steps), length + 1), dtype=torch.bool)
    return cells.scatter(1, steps.clamp(max=length), True)[:, :length]
