"""Texts that are too long for a model's encoders: the longest beginning of whole words that fits."""

from bisect import bisect_right
from collections.abc import Sequence

from descant.conditioning.base import TextLimit


def fits(text: str, limits: Sequence[TextLimit]) -> bool:
    """Whether a text is within all limits."""
    return all(length(text) <= maximum for maximum, length in limits)


def longest_beginning(text: str, limits: Sequence[TextLimit]) -> str:
    """The text unchanged if it fits, else the longest beginning of it that fits and ends with a word.

    Where even the first word is too long, a part of it. White space before a text that must be cut is left out.
    """
    if fits(text, limits):
        return text
    kept = text.lstrip()
    for limit in limits:
        kept = _beginning(kept, limit)
    return kept


def _beginning(text: str, limit: TextLimit) -> str:
    maximum, length = limit
    if length(text) <= maximum:
        return text

    def fitting(ends: Sequence[int]) -> Sequence[int]:
        return ends[: bisect_right(ends, maximum, key=lambda end: length(text[:end]))]

    inside = range(1, len(text))
    word_ends = [end for end in inside if text[end].isspace() and not text[end - 1].isspace()]
    return text[: [*fitting(inside), *fitting(word_ends)][-1]]
