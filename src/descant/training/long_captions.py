"""Captions that are too long for the text encoder: cut to the words that fit, with a note of their clips."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from descant.conditioning.base import TextLimit, readable_text, valid_beginning
from descant.conditioning.long_texts import longest_beginning
from descant.data.captions import CaptionConfig, tag_text
from descant.data.shards import TokenizedClip
from descant.errors import InvalidRequest

SHORT_CHARACTERS = 200
"""Texts up to this long fit every encoder, since a token is at least one character; they are not measured."""

MAX_NOTES = 5


class CaptionCutter:
    """Cuts captions that a model cannot read to the end.

    A run would otherwise fail at whatever step first draws such a caption.

    Args:
        limits: of the model's text encoders (``MusicGenModel.text_limits``).
        note: called with a message for each of the first clips whose captions are cut.
    """

    def __init__(self, limits: Sequence[TextLimit], note: Callable[[str], None]) -> None:
        self._limits = limits
        self._note = note
        self.left_out: dict[str, str] = {}
        """The clips found so far whose captions are cut, each with the reason."""

    def cut(self, texts: Sequence[str | None], clips: Sequence[TokenizedClip]) -> list[str | None]:
        """The captions of these clips, each as far as the text encoders read it."""
        return [self._cut(text, clip) for text, clip in zip(texts, clips, strict=True)]

    def name_long_ones(self, clips: Sequence[TokenizedClip], config: CaptionConfig) -> int:
        """The number of clips that can draw a caption that must be cut, after a note of the first ones."""
        long = {clip.id: text for clip in clips for text in _longest(clip, config) if self._problem(text) is not None}
        for name, text in list(long.items())[:MAX_NOTES]:
            self._note(f"clip {name!r}: {self._problem(text)}; what does not fit will be left out in training")
        if len(long) > MAX_NOTES:
            self._note(f"the same applies to {len(long) - MAX_NOTES} more of the {len(clips)} clips")
        self.left_out |= {name: f"its caption is cut: {self._problem(text)}" for name, text in long.items()}
        return len(long)

    def _cut(self, text: str | None, clip: TokenizedClip) -> str | None:
        problem = self._problem(text)
        if text is None or problem is None:
            return text
        if clip.id not in self.left_out and len(self.left_out) < MAX_NOTES:
            self._note(f"clip {clip.id!r}: {problem}; what does not fit is left out")
        self.left_out[clip.id] = f"its caption is cut: {problem}"
        return longest_beginning(valid_beginning(text).strip(), self._limits) or None

    def _problem(self, text: str | None) -> str | None:
        """Why the model cannot read this text, or None where it can."""
        if text is None or (len(text) <= SHORT_CHARACTERS and text.isprintable()):
            return None
        try:
            readable_text(text)
        except InvalidRequest as error:
            return str(error)
        for maximum, length in self._limits:
            if length(text) > maximum:
                return f"text has {length(text)} tokens: the text encoder reads up to {maximum}"
        return None


def _longest(clip: TokenizedClip, config: CaptionConfig) -> Iterator[str]:
    """The captions of a clip, and the longest of them followed by all tags."""
    yield from clip.captions
    tags = tag_text(clip.tags, replace(config, keep_field_probability=1.0), random.Random(0))
    if tags and config.merge_probability > 0:
        yield f"{max(clip.captions, key=len, default='')}. {tags}"
