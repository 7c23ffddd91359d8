"""Text normalisation: lower case, lemmas, no stop words.

"Guitars are strumming" and "a strummed guitar" mean the same; a small model with few captions learns more from either
when both become "guitar strum". An option for new models: the released ones read texts as they are written.
"""

import re
from itertools import pairwise

from descant.errors import MissingExtra

# A tempo of 92.5, a metre of 6/8, lo-fi, r&b, don't and f# are one word each.
_WORD = re.compile(r"[^\W_]+(?:[-'&./][^\W_]+)*[#♯♭]?")
_CURLED = "\u2019"
_KEPT = frozenset(
    ("no", "nor", "not", "neither", "cannot", "but", "only", "rather", "than", "off", "least", "most"),
)
"""Stop words that change the meaning of what follows and are kept: "no drums" is not "drums"."""
_AFTER_TONIC = frozenset(("major", "minor", "maj", "min", "flat", "sharp"))
_LEMMAS = {"singing": "sing", "playing": "play"}
"""Corrections for words of music: the dictionary's lemma of "singing" is "singe", of "playing" "playe"."""


def normalize_text(text: str) -> str | None:
    """The lemmas of a text in lower case, without stop words and punctuation; None if no word is left.

    Numbers stay digits, negations stay, and so does the "a" of a key. The text is taken for English: words of other
    languages that look like English ones are treated as such.

    Raises:
        MissingExtra: the dictionaries are not installed.
    """
    try:
        from lunr.stop_word_filter import WORDS
        from simplemma import lemmatize
    except ImportError as error:
        raise MissingExtra('is_normalized needs dictionaries: pip install "descant[normalize]"') from error
    words = _WORD.findall(text.lower().replace(_CURLED, "'"))
    kept = []
    for word, following in pairwise([*words, ""]):
        is_tonic = word == "a" and following in _AFTER_TONIC
        if word in WORDS and word not in _KEPT and not is_tonic:
            continue
        # The dictionary's lemma of "don't" is "do".
        is_plain = word.isalpha() or "-" in word or word.endswith("'s")
        kept.append(_LEMMAS.get(word) or (lemmatize(word, lang="en").lower() if is_plain else word))
    return " ".join(kept) or None
