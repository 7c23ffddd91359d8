"""The sequences of a session, as the words of their next tokens."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import InvalidRequest
from descant.generation.runtimes.native.kernels import CacheWord, TokenWord
from descant.generation.runtimes.native.packing import address_of

NO_END = 2**62
"""A position that no sequence reaches."""


class Slots:
    """What is known of the sequences, a row each by their numbers, so that a step advances all of them at once.

    Attributes:
        words: of each one's next token.
        strides: what is added to the words from one token to the next.
        num_summed: up to which position there are vectors that are added to the embeddings.
        kept: the memory that the words point to.
    """

    def __init__(self) -> None:
        self.words = np.zeros((0, TokenWord.NUM_WORDS), np.int64)
        self.strides = np.zeros((0, TokenWord.NUM_WORDS), np.int64)
        self.num_summed = np.zeros(0, np.int64)
        self.kept: dict[int, list[Tensor]] = {}

    def add(self, words: Int[np.ndarray, " words"], kept: list[Tensor]) -> int:
        """A new sequence; its number is the first one that is free."""
        number = next(number for number in range(len(self.kept) + 1) if number not in self.kept)
        if number == len(self.words):
            self.words, self.strides = (np.pad(table, ((0, 1), (0, 0))) for table in (self.words, self.strides))
            self.num_summed = np.pad(self.num_summed, (0, 1))
        self.words[number], self.strides[number], self.kept[number] = words, 0, kept
        self.words[number, TokenWord.STEPS + CacheWord.LENGTH] = 1
        self.strides[number, [TokenWord.POSITION, TokenWord.STEPS + CacheWord.LENGTH]] = 1
        return number

    def add_to_next(self, number: int, vectors: Float[Tensor, "n D"]) -> None:
        """Vectors that are added to a sequence's embeddings from the next token on: one to each, or a single one to
        all."""
        is_single = len(vectors) == 1
        self.kept[number].append(vectors)
        self.words[number, TokenWord.SUM] = address_of(vectors)
        self.strides[number, TokenWord.SUM] = 0 if is_single else vectors.stride(0) * vectors.element_size()
        self.num_summed[number] = NO_END if is_single else self.words[number, TokenWord.POSITION] + len(vectors)

    def tokens(self, number: int, count: int) -> Int[np.ndarray, "count words"]:
        """The words of a sequence's next tokens, which are then counted as read."""
        words = self.words[number] + np.arange(count + 1)[:, None] * self.strides[number]
        self.words[number] = words[-1]
        _check_sums(words[-2:-1], self.num_summed[[number]])
        return words[:-1]

    def next_tokens(self, numbers: Int[np.ndarray, " B"]) -> Int[np.ndarray, "B words"]:
        """The words of the next token of different sequences, which are then counted as read."""
        words = self.words[numbers]
        _check_sums(words, self.num_summed[numbers])
        self.words[numbers] = words + self.strides[numbers]
        return words

    def steps_ahead(
        self, numbers: Int[np.ndarray, " B"], num_steps: int
    ) -> tuple[Int[np.ndarray, "B words"], Int[np.ndarray, "B words"]]:
        """The words of the next token of different sequences, of which ``num_steps`` tokens are then counted as read,
        and what is added to them from one token to the next."""
        words, strides = self.words[numbers], self.strides[numbers]
        _check_sums(words + (num_steps - 1) * strides, self.num_summed[numbers])
        self.words[numbers] = words + num_steps * strides
        return words, strides

    def leave(self, numbers: Sequence[int]) -> None:
        """Frees memory and numbers."""
        for number in numbers:
            del self.kept[number]


def _check_sums(words: Int[np.ndarray, "B words"], num_summed: Int[np.ndarray, " B"]) -> None:
    if (words[:, TokenWord.POSITION] >= num_summed).any():
        raise InvalidRequest(
            "the summed condition has fewer steps than the sequence: give one vector a step, or a single one for all"
        )
