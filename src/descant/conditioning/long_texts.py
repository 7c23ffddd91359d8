"""Texts that are too long for a model's encoders: the longest beginning of whole words that fits."""

from bisect import bisect_left
from collections.abc import Sequence

from descant.conditioning.base import TextLimit


def fits(text: str, limits: Sequence[TextLimit]) -> bool:
    """Whether a text is within all limits."""
    return all(length(text) <= maximum for maximum, length in limits)


def longest_beginning(text: str, limits: Sequence[TextLimit]) -> str:
    """The text unchanged if it fits, else the longest beginning of it that fits and ends with a word.

    Where even the first word is too long, a part of it; an empty text where no character fits. White space before a
    text that must be cut is left out. With ``is_normalized`` a text can become shorter as it grows ("th", "the"): what
    is returned always fits, but a slightly longer beginning may fit too.
    """
    if fits(text, limits):
        return text
    text = text.lstrip()
    ends = range(1, len(text) + 1)
    word_ends = [end for end in ends if not text[end - 1].isspace() and text[end : end + 1].strip() == ""]
    return text[: _last_fitting(text, word_ends, limits) or _last_fitting(text, ends, limits)]


def _last_fitting(text: str, ends: Sequence[int], limits: Sequence[TextLimit]) -> int:
    """The last of these ends up to which the text fits, found by bisection; 0 if there is none."""
    number = bisect_left(ends, True, key=lambda end: not fits(text[:end], limits))
    return ends[number - 1] if number else 0
