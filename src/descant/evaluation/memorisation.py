"""Does a model repeat its training set? Codes that it generates, compared with the codes that it was trained on.

The paper's test (arXiv 2306.05284, "Memorization"): prompt the model with the beginning of a training example, decode
five seconds greedily, and compare the first codebook, the coarsest, with the example at the same positions
(``memorisation_rates``). ``find_copies`` looks for any generated codes anywhere in the training set.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descant.data.corpus import read_corpus
from descant.errors import InvalidRequest
from descant.evaluation.report import Estimate, rate_with_interval

WINDOW_FRAMES = 250
"""Five seconds of the released codecs (section "Memorization")."""
PARTIAL_SHARE = 0.8
_MAX_PAIRS = 1 << 20

Codes: TypeAlias = Tensor | np.ndarray
"""Whole numbers: [K, T], of which the first codebook is compared, or [T]."""


@dataclass(frozen=True)
class MemorisationRates:
    """The shares of continuations that equal their source exactly, and in at least 80 % of the frames."""

    exact: Estimate
    partial: Estimate


@dataclass(frozen=True)
class Copy:
    """The stretch of a training example that generated codes match best.

    Args:
        share: of the window's frames that are equal.
        generated_frame, source_frame: where the window begins.
        num_codes: the different codes in the generated window. Few of them are silence or a held sound, which all
            music has in common.
    """

    share: float
    generated_frame: int
    source: str
    source_frame: int
    num_codes: int


def share_equal(generated: Codes, source: Codes) -> float:
    """The share of frames whose first code is the same, over equally long sequences.

    Raises:
        InvalidRequest: the lengths differ, there are no frames, or the values are not whole numbers.
    """
    ours, theirs = _first_codebook(generated, "generated"), _first_codebook(source, "source")
    if len(ours) != len(theirs) or not len(ours):
        raise InvalidRequest(
            f"{len(ours)} generated frames against {len(theirs)}: equally many are needed, at least one"
        )
    return float((ours == theirs).mean())


def memorisation_rates(continuations: Sequence[tuple[Codes, Codes]]) -> MemorisationRates:
    """The paper's rates, from pairs of a continuation and what follows the prompt in its source.

    The prompt is part of neither. Rates belong to one length of prompts: longer ones are continued exactly more often.

    Raises:
        InvalidRequest: there are no pairs, or the two of a pair differ in length.
    """
    shares = [share_equal(generated, source) for generated, source in continuations]
    return MemorisationRates(
        exact=rate_with_interval(sum(share == 1 for share in shares), len(shares)),
        partial=rate_with_interval(sum(share >= PARTIAL_SHARE for share in shares), len(shares)),
    )


def find_copies(
    generated: Sequence[Codes],
    training: Iterable[tuple[str, Codes]],
    window_frames: int = WINDOW_FRAMES,
    min_share: float = PARTIAL_SHARE,
) -> list[Copy | None]:
    """Of each generated sequence the window that most resembles one of the training set, or None below ``min_share``.

    Nothing is missed: a window with few differences contains many short runs of equal frames, since each difference
    breaks only those runs that contain it (the q-gram lemma; Jokinen and Ukkonen, MFCS 1991). Runs are looked up by
    their hash, and where enough of them line up, sequences are compared frame by frame. The training set is read once,
    one example after the other.

    Args:
        training: names and codes of the examples, such as ``shard_codes``.

    Raises:
        InvalidRequest: a generated sequence is shorter than the window, there is none, the window or the share is out
            of range, or values are not whole numbers.
    """
    if not generated or window_frames < 1 or not 0 < min_share <= 1:
        raise InvalidRequest(
            f"{len(generated)} sequences, window_frames={window_frames}, min_share={min_share:g}: needed are at "
            "least one sequence, one frame, and a share above 0 up to 1"
        )
    ours = [_first_codebook(codes, f"generated[{number}]") for number, codes in enumerate(generated)]
    if min(map(len, ours)) < window_frames:
        raise InvalidRequest(
            f"a generated sequence has {min(map(len, ours))} frames: at least window_frames={window_frames} are needed"
        )
    search = _Search(ours, window_frames, math.ceil(round(min_share * window_frames, 6)))
    for name, codes in training:
        search.compare(name, _first_codebook(codes, name))
    return search.best


def shard_codes(folder: str | os.PathLike[str]) -> Iterator[tuple[str, Int[np.ndarray, " T"]]]:
    """The training clips of a folder of shards: their names and first codebooks, memory-mapped.

    Raises:
        DataError: a shard, the table or the index is missing or damaged.
    """
    corpus = read_corpus(folder)
    for number, clip in enumerate(corpus.clips):
        if clip.split == "train":
            yield clip.id, corpus.codes(number)[0].numpy()


class _Search:
    """The runs of all generated sequences, sorted by hash, and the best copy of each that was found so far."""

    def __init__(self, generated: Sequence[np.ndarray], window: int, min_equal: int) -> None:
        self.window = window
        self.min_equal = min_equal
        differences = window - min_equal
        # They divide the equal frames into one part more, of which the longest has at least the mean length.
        self.run = math.ceil(min_equal / (differences + 1))
        self.min_runs = max(1, window - self.run + 1 - self.run * differences)
        self.generated = generated
        self.longest = max(map(len, generated))
        self.best: list[Copy | None] = [None] * len(generated)
        hashes = [_hashes(codes, self.run) for codes in generated]
        self.owner = np.repeat(np.arange(len(generated)), [len(part) for part in hashes])
        self.position = np.concatenate([np.arange(len(part)) for part in hashes])
        joined = np.concatenate(hashes)
        order = np.argsort(joined, kind="stable")
        self.hashes, self.owner, self.position = joined[order], self.owner[order], self.position[order]

    def compare(self, name: str, codes: np.ndarray) -> None:
        """Compares one training example with every generated sequence that has enough runs in common with it."""
        if len(codes) < self.window:
            return
        theirs = _hashes(codes, self.run)
        first, last = (np.searchsorted(self.hashes, theirs, side=side) for side in ("left", "right"))
        counts = last - first
        places = counts.nonzero()[0]
        # In batches of bounded size: a run of silence pairs with every other one.
        batches = np.cumsum(counts[places]) // _MAX_PAIRS
        lines = [self._lines(places[batches == batch], first, counts, len(codes)) for batch in np.unique(batches)]
        if not lines:
            return
        line, index = np.unique(np.concatenate([part for part, _ in lines]), return_inverse=True)
        num_runs = np.bincount(index, weights=np.concatenate([number for _, number in lines]))
        for owner, shift in zip(*self._owner_and_shift(line[num_runs >= self.min_runs], len(codes)), strict=True):
            self._compare_at(owner, shift, name, codes)

    def _lines(
        self, places: np.ndarray, first: np.ndarray, counts: np.ndarray, num_codes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lines on which equal runs lie, a line being a generated sequence with a shift, and the runs on each."""
        pairs = _ranges(first[places], counts[places])
        shifts = np.repeat(places, counts[places]) - self.position[pairs]
        return np.unique(self.owner[pairs] * (self.longest + num_codes) + shifts + self.longest, return_counts=True)

    def _owner_and_shift(self, lines: np.ndarray, num_codes: int) -> tuple[list[int], list[int]]:
        owners, shifts = np.divmod(lines, self.longest + num_codes)
        return owners.tolist(), (shifts - self.longest).tolist()

    def _compare_at(self, owner: int, shift: int, name: str, codes: np.ndarray) -> None:
        """Compares generated frame t with training frame t + ``shift``, in every window."""
        ours = self.generated[owner]
        start, end = max(0, -shift), min(len(ours), len(codes) - shift)
        if end - start < self.window:
            return
        equal = np.concatenate([[0], np.cumsum(ours[start:end] == codes[start + shift : end + shift])])
        in_window = equal[self.window :] - equal[: -self.window]
        place = int(in_window.argmax())
        share = int(in_window[place]) / self.window
        known = self.best[owner]
        if in_window[place] >= self.min_equal and (known is None or share > known.share):
            at = start + place
            num_codes = len(np.unique(ours[at : at + self.window]))
            self.best[owner] = Copy(share, at, name, at + shift, num_codes)


def _first_codebook(codes: Codes, name: str) -> Int[np.ndarray, " T"]:
    array = codes.detach().cpu().numpy() if isinstance(codes, torch.Tensor) else codes
    if array.ndim not in (1, 2) or not np.issubdtype(array.dtype, np.integer):
        raise InvalidRequest(f"{name}: {array.dtype} {list(array.shape)}; expected whole numbers [K, T] or [T]")
    return (array if array.ndim == 1 else array[0]).astype(np.int64)


def _hashes(codes: np.ndarray, length: int) -> np.ndarray:
    """A hash of the run of ``length`` codes from each frame on: a polynomial modulo 2^64."""
    hashes = np.zeros(len(codes) - length + 1, dtype=np.uint64)
    for offset in range(length):
        part = codes[offset : offset + len(hashes)].astype(np.uint64)
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + part + np.uint64(1)
    return hashes


def _ranges(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers from each ``first`` on, as many as its count, one range after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) - np.repeat(ends - counts - first, counts)
