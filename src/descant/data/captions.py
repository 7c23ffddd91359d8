"""What is said of a clip in training: its description, its tags as text, or both, with words left out.

Tags are merged into descriptions and words are dropped so that the model also follows prompts which are short, out of
order or lists of keywords (arXiv 2306.05284, sections 3.1 and A.2).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from descant.errors import ConfigError


@runtime_checkable
class Captioned(Protocol):
    """Anything with wordings to choose from and tags."""

    @property
    def captions(self) -> Sequence[str]:
        """Wordings of one description."""

    @property
    def tags(self) -> dict[str, Any]:
        """Facts by name; a value is a text, a number or a list of them."""


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """The defaults are MusicGen's, with the word dropout its paper names (the released code leaves that at 0)."""

    merge_probability: float = 0.25
    """How often the tags are added to the description."""
    keep_field_probability: float = 0.5
    """When they are, how likely each tag is among them."""
    drop_description_probability: float = 0.5
    """When they are, how often they replace the description instead of following it."""
    word_dropout: float = 0.3
    """How likely each word of the outcome is left out; one is always kept."""
    fields: tuple[str, ...] = ("key", "bpm", "genre", "moods", "instrument", "keywords")
    """The tags that may be said."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "fields" and not 0 <= value <= 1:
                raise ConfigError(f"{name}={value}: a probability lies between 0 and 1")


def caption(record: Captioned, config: CaptionConfig, generator: random.Random) -> str | None:
    """What is said of the clip this time, or None if there is nothing to say: the null condition."""
    wordings = [text for text in record.captions if text.strip()]
    description = generator.choice(wordings) if wordings else None
    if generator.random() < config.merge_probability:
        description = _merged(description, tag_text(record.tags, config, generator), config, generator)
    return None if description is None else _with_dropped_words(description, config.word_dropout, generator)


def tag_text(tags: dict[str, Any], config: CaptionConfig, generator: random.Random) -> str:
    """Some of the tags in random order, as in ``bpm: 120. genre: lo-fi``."""
    texts = {name: _value_text(name, tags[name]) for name in config.fields if name in tags}
    said = [f"{name}: {text}" for name, text in texts.items() if text]
    said = [part for part in said if generator.random() < config.keep_field_probability]
    generator.shuffle(said)
    return ". ".join(said)


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
    """A tag's value as words, normalised as audiocraft does (data/music_dataset.py); empty if it says nothing."""
    text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
    if value is None or (name == "key" and "," in text):
        # Two keys: whoever tagged it was not sure.
        return ""
    if name == "bpm" and isinstance(value, float):
        text = f"{value:g}"
    return text.strip().lower() if name in ("genre", "instrument") else text.strip()
