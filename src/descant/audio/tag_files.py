"""One text in the tags of an audio file. Only this file and common_tags.py import mutagen."""

import io

from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TXXX
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4, MP4FreeForm
from mutagen.ogg import OggPage
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from descant.audio.source import ByteFile

ATOM = "----:com.apple.iTunes:"

_READERS = {"wav": WAVE, "flac": FLAC, "ogg": OggVorbis, "mp3": MP3, "opus": OggOpus, "aiff": AIFF, "m4a": MP4}


def with_text(content: bytes, format: str, name: str, text: str) -> bytes:
    """The bytes of an audio file with a text in the tag of that name."""
    buffer = io.BytesIO(content)
    audio = _READERS[format](buffer)
    if audio.tags is None:
        audio.add_tags()
    if isinstance(audio.tags, ID3):
        audio.tags.add(TXXX(encoding=3, desc=name, text=[text]))
    elif format == "m4a":
        audio[ATOM + name] = [MP4FreeForm(text.encode())]
    else:
        audio[name] = [text]
    buffer.seek(0)
    audio.save(buffer)
    return _with_fixed_serial(buffer.getvalue()) if format in ("ogg", "opus") else buffer.getvalue()


def text_of(file: ByteFile, format: str, name: str) -> str | None:
    """The text in the tag of that name; None if there is none. It raises whatever mutagen raises for damage."""
    # An ID3 tag may also be before AAC, in which the reader of MP3 finds no frame.
    tags = ID3(file) if format == "mp3" else _READERS[format](file).tags
    if tags is None:
        return None
    if isinstance(tags, ID3):
        frame = tags.get(f"TXXX:{name}")
        return None if frame is None else str(frame.text[0])
    if format == "m4a":
        return next((bytes(value).decode() for value in tags.get(ATOM + name, [])), None)
    return next(iter(tags.get(name, [])), None)


def _with_fixed_serial(content: bytes) -> bytes:
    """The Ogg file with stream number 1: the encoder takes it from the clock, so that equal clips would differ."""
    source = io.BytesIO(content)
    pages = []
    while source.tell() < len(content):
        page = OggPage(source)
        page.serial = 1
        pages.append(page.write())
    return b"".join(pages)
