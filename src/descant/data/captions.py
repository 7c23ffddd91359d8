"""Training captions of a clip: its description, its tags as text, or both, with word dropout.

Merging tags into descriptions and dropping words make the model also follow prompts that are short, out of order or
lists of keywords (arXiv 2306.05284, sections 3.1 and A.2).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from descant.errors import ConfigError


@runtime_checkable
class Captioned(Protocol):
    """Anything with captions and tags."""

    @property
    def captions(self) -> Sequence[str]:
        """Different wordings of one description."""

    @property
    def tags(self) -> dict[str, Any]:
        """Tags by name; a value is a text, a number or a list of them."""


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """The defaults are MusicGen's, with the word dropout of its paper (0 in the released code)."""

    merge_probability: float = 0.25
    """Probability that tags are added to the description."""
    keep_field_probability: float = 0.5
    """Probability of each tag to be added in that case."""
    drop_description_probability: float = 0.5
    """Probability that they replace the description in that case instead of following it."""
    word_dropout: float = 0.3
    """Probability of each word of the result to be dropped; one is always kept."""
    fields: tuple[str, ...] = ("key", "bpm", "genre", "moods", "instrument", "keywords")
    """The tags that captions may contain."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "fields" and not 0 <= value <= 1:
                raise ConfigError(f"{name}={value}: a probability lies between 0 and 1")


def caption(record: Captioned, config: CaptionConfig, generator: random.Random) -> str | None:
    """A random caption of the clip, or None (the null condition) if it has neither description nor tags.

    Of a clip without a description the tags are always used: its music would be learned without words otherwise, as
    that of a folder of songs whose only words are the tags in their files.
    """
    descriptions = [text for text in record.captions if text.strip()]
    description = generator.choice(descriptions) if descriptions else None
    if generator.random() < config.merge_probability or description is None:
        description = _merged(description, tag_text(record.tags, config, generator), config, generator)
    return None if description is None else _with_dropped_words(description, config.word_dropout, generator)


def plain_caption(record: Captioned, config: CaptionConfig) -> str | None:
    """The same caption every time: the first description, else all tags in the order of the config."""
    description = next((text for text in record.captions if text.strip()), None)
    return description or ". ".join(_tag_parts(record.tags, config)) or None


def tag_text(tags: dict[str, Any], config: CaptionConfig, generator: random.Random) -> str:
    """Some of the tags in random order, as in ``bpm: 120. genre: lo-fi``."""
    parts = [part for part in _tag_parts(tags, config) if generator.random() < config.keep_field_probability]
    generator.shuffle(parts)
    return ". ".join(parts)


def _tag_parts(tags: dict[str, Any], config: CaptionConfig) -> list[str]:
    texts = {name: _value_text(name, tags[name]) for name in config.fields if name in tags}
    return [f"{name}: {text}" for name, text in texts.items() if text]


def _merged(description: str | None, tags: str, config: CaptionConfig, generator: random.Random) -> str | None:
    is_dropped = generator.random() < config.drop_description_probability
    if not tags:
        return description
    if description is None or is_dropped:
        return tags
    return f"{description.rstrip().rstrip('.')}. {tags}"


def _with_dropped_words(text: str, probability: float, generator: random.Random) -> str:
    if probability == 0:
        return text
    words = text.split()
    kept = [word for word in words if generator.random() >= probability]
    return " ".join(kept or [generator.choice(words)])


def _value_text(name: str, value: Any) -> str:
    """A tag's value as text, normalised as in audiocraft (data/music_dataset.py); "" if it is unusable."""
    text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
    if value is None or (name == "key" and "," in text):
        # Two keys: the tagger was not sure.
        return ""
    if name == "bpm" and isinstance(value, float):
        text = f"{value:g}"
    return text.strip().lower() if name in ("genre", "instrument") else text.strip()
