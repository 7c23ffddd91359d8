"""The tags of a music file: title, artist, album, genre, comment, tempo and key, in any format."""

from typing import Any

import mutagen

from descant.atomic import AnyPath
from descant.audio.files import open_regular
from descant.audio.tags import unreadable_tags

MAX_CHARACTERS = 2_000
"""A longer text in a tag is lyrics, a cue sheet or a picture, and useless as a caption."""

NAMES = {
    "title": ("TIT2", "title", "\xa9nam", "Title"),
    "artist": ("TPE1", "artist", "\xa9ART", "Author"),
    "album": ("TALB", "album", "\xa9alb", "WM/AlbumTitle"),
    "genre": ("TCON", "genre", "\xa9gen", "WM/Genre"),
    "comment": ("COMM", "comment", "description", "\xa9cmt", "Description"),
    "bpm": ("TBPM", "bpm", "tempo", "tmpo", "WM/BeatsPerMinute"),
    "key": ("TKEY", "initialkey", "key", "----:com.apple.iTunes:initialkey", "WM/InitialKey"),
}
"""Our names, and those of ID3, Vorbis comments, MP4 and ASF. ID3 keys may continue after a colon: ``COMM::eng``."""


def read_common_tags(path: AnyPath) -> dict[str, Any]:
    """The tags of ``NAMES`` that a file has, one value as text, several as a list; the tempo as a number.

    Raises:
        AudioError: the file cannot be opened, or its tags are damaged.
    """
    with open_regular(path) as file:
        try:
            audio = mutagen.File(file)
            tags = {} if audio is None or audio.tags is None else audio.tags
            found = {name: _values(tags, keys) for name, keys in NAMES.items()}
        # For damaged files mutagen raises its own errors, but also IndexError, struct.error and others.
        except Exception as error:
            raise unreadable_tags(file, path, error) from error
    known: dict[str, Any] = {
        name: values[0] if len(values) == 1 else values for name, values in found.items() if values
    }
    if "bpm" in known and (bpm := _tempo(known.pop("bpm"))) is not None:
        known["bpm"] = bpm
    return known


def _values(tags: Any, names: tuple[str, ...]) -> list[str]:
    """The texts under the first of these names that the tags have."""
    for name in names:
        for key in tags.keys():  # noqa: SIM118 (Vorbis comments iterate over pairs)
            is_named = str(key).split(":")[0] == name or str(key).lower() == name.lower()
            # iTunes keeps numbers for its player in comments.
            if is_named and "iTun" not in str(key):
                texts = [text for text in map(_text, _items(tags[key])) if text]
                if texts:
                    return list(dict.fromkeys(texts))
    return []


def _items(value: Any) -> list[Any]:
    """The values of one tag: an ID3 frame keeps them in ``text`` (genres may be numbers there), others give lists."""
    value = getattr(value, "genres", None) or getattr(value, "text", value)
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    is_text = len(text) <= MAX_CHARACTERS and not any("\ud800" <= letter <= "\udfff" for letter in text)
    return " ".join(text.replace("\0", " ").split()) if is_text else ""


def _tempo(value: Any) -> float | None:
    """A plausible tempo, else None: many files say 0."""
    try:
        bpm = float(value)
    except (TypeError, ValueError):
        return None
    return (int(bpm) if bpm == int(bpm) else bpm) if 20 <= bpm <= 400 else None
