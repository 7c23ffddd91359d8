"""Captions that are longer than the text encoder reads: cut to the words that fit, and named."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from descant.conditioning.base import Embedding
from descant.data.captions import CaptionConfig, tag_text
from descant.data.shards import TokenizedClip
from descant.errors import InvalidRequest

SHORT_CHARACTERS = 200
"""Texts up to this long fit every encoder, for a token is a character at least; they are not tried."""

MAX_NOTES = 5


class CaptionReader:
    """Reads captions as a model does, but the end of one that is too long is left out.

    A run would otherwise end at whatever step first draws such a caption.

    Args:
        read: gives what a model sees of texts, or refuses them (``MusicGenModel.read``).
        note: is given a message for each of the first clips whose captions are cut.
    """

    def __init__(self, read: Callable[[Sequence[str | None]], Embedding], note: Callable[[str], None]) -> None:
        self._read = read
        self._note = note
        self._named: set[str] = set()

    def read(self, texts: Sequence[str | None], clips: Sequence[TokenizedClip]) -> Embedding:
        """The captions of these clips as the text encoder sees them."""
        try:
            return self._read(texts)
        except InvalidRequest:
            return self._read([self._fitting(*pair) for pair in zip(texts, clips, strict=True)])

    def name_long_ones(self, clips: Sequence[TokenizedClip], config: CaptionConfig) -> int:
        """How many of the clips can draw a caption that must be cut, after a note of the first ones."""
        long = {clip.id: text for clip in clips for text in _longest(clip, config) if self._problem(text) is not None}
        for name, text in list(long.items())[:MAX_NOTES]:
            self._note(f"clip {name!r}: {self._problem(text)}; what does not fit will be left out in training")
        if len(long) > MAX_NOTES:
            self._note(f"and so it is with {len(long) - MAX_NOTES} more of the {len(clips)} clips")
        self._named |= long.keys()
        return len(long)

    def _problem(self, text: str | None) -> str | None:
        """Why the model cannot read this text, or None where it can."""
        if text is None or (len(text) <= SHORT_CHARACTERS and text.isprintable()):
            return None
        try:
            self._read([text])
        except InvalidRequest as error:
            return str(error)
        return None

    def _fitting(self, text: str | None, clip: TokenizedClip) -> str | None:
        """The longest beginning of a caption that the model reads: of its words, or of its one word."""
        problem = self._problem(text)
        if text is None or problem is None:
            return text
        if clip.id not in self._named and len(self._named) < MAX_NOTES:
            self._note(f"clip {clip.id!r}: {problem}; what does not fit is left out")
        self._named.add(clip.id)
        words = text.split()
        return self._beginning(words, " ") or self._beginning(words[0], "") or None

    def _beginning(self, parts: Sequence[str], separator: str) -> str:
        """As many of the parts as can be read, found by halving."""
        fit, too_many = 0, len(parts) + 1
        while too_many - fit > 1:
            middle = (fit + too_many) // 2
            if self._problem(separator.join(parts[:middle])) is None:
                fit = middle
            else:
                too_many = middle
        return separator.join(parts[:fit])


def _longest(clip: TokenizedClip, config: CaptionConfig) -> Iterator[str]:
    """The wordings of a clip, and the longest of them with all tags behind it."""
    yield from clip.captions
    tags = tag_text(clip.tags, replace(config, keep_field_probability=1.0), random.Random(0))
    if tags and config.merge_probability > 0:
        yield f"{max(clip.captions, key=len, default='')}. {tags}"
