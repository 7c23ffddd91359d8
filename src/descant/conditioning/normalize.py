"""Texts with less to tell apart: small letters, lemmas, and none of the words that say nothing.

"Guitars are strumming" and "a strummed guitar" say one thing in two ways; a small model with few captions learns more
from either when both read "guitar strum". An option of new models: the released ones read texts as they are written.
"""

import re

from descant.errors import MissingExtra

# A tempo of 92.5, a metre of 6/8, lo-fi, r&b, don't and f# are one word each.
_WORD = re.compile(r"[^\W_]+(?:[-'&./][^\W_]+)*[#♯♭]?")
_CURLED = "\u2019"
_KEPT = frozenset(
    ("no", "nor", "not", "neither", "cannot", "but", "only", "rather", "than", "off", "least", "most"),
)
"""Words of the list that turn what follows into something else: "no drums" is not "drums"."""
_AFTER_TONIC = frozenset(("major", "minor", "maj", "min", "flat", "sharp"))
_LEMMAS = {"singing": "sing", "playing": "play"}
"""Where the dictionary errs in words of music: it makes "singe" of "singing" and "playe" of "playing"."""


def normalize_text(text: str) -> str | None:
    """English words in small letters, as their lemmas, without stop words and punctuation; None if no word is left.

    Numbers stay digits, negations stay, and so does the "a" of a key. Words of other languages that look like English
    ones are treated as these.

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
    for word, following in zip(words, [*words[1:], ""], strict=False):
        is_tonic = word == "a" and following in _AFTER_TONIC
        if word in WORDS and word not in _KEPT and not is_tonic:
            continue
        # The dictionary's lemma of "don't" is "do".
        is_plain = word.isalpha() or "-" in word or word.endswith("'s")
        kept.append(_LEMMAS.get(word) or (lemmatize(word, lang="en").lower() if is_plain else word))
    return " ".join(kept) or None
