"""The metadata of generated files: one JSON object in their tags, the same in every format we write.

The JSON is ASCII, so that no tag format can change it. It is stored under the name ``descant``: a Vorbis comment in
flac, ogg and opus, a TXXX frame of an ID3 tag in mp3, wav and aiff, a free-form atom in m4a. Only this
file and common_tags.py import mutagen.
"""

import io
import json
from typing import Any

from mutagen.aiff import AIFF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TXXX
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4, MP4FreeForm
from mutagen.ogg import OggPage
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from descant.audio.files import AnyFile, open_regular, quoted
from descant.audio.source import ByteFile
from descant.errors import AudioError, InvalidRequest

NAME = "descant"

ATOM = f"----:com.apple.iTunes:{NAME}"

_READERS = {"wav": WAVE, "flac": FLAC, "ogg": OggVorbis, "mp3": MP3, "opus": OggOpus, "aiff": AIFF, "m4a": MP4}
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"RIFF", "wav"),
    (0, b"fLaC", "flac"),
    (28, b"OpusHead", "opus"),
    (0, b"OggS", "ogg"),
)
_MAGIC += ((0, b"FORM", "aiff"), (4, b"ftyp", "m4a"))


def read_info(path: AnyFile) -> dict[str, Any]:
    """The ``info`` of the clip that was saved in this file; empty if it holds none of ours.

    Raises:
        AudioError: the file cannot be opened, or its tags are damaged.
    """
    with open_regular(path) as file:
        head = file.read(64)
        format = next((name for place, magic, name in _MAGIC if head.startswith(magic, place)), "mp3")
        file.seek(0)
        try:
            text = _text(file, format)
            info = {} if text is None else json.loads(text)
        # For damaged files mutagen raises its own errors, but also IndexError, struct.error and others.
        except Exception as error:
            raise AudioError(f"the tags of {quoted(path)} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(info, dict):
        raise AudioError(f"the tag {NAME!r} of {quoted(path)} holds no JSON object")
    return info


def with_info(content: bytes, format: str, info: dict[str, Any]) -> bytes:
    """The bytes of an audio file with ``info`` in its tags.

    Raises:
        InvalidRequest: ``info`` cannot be written as JSON.
    """
    try:
        text = json.dumps(info, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"info cannot be written as JSON: {error}") from error
    buffer = io.BytesIO(content)
    audio = _READERS[format](buffer)
    if audio.tags is None:
        audio.add_tags()
    if isinstance(audio.tags, ID3):
        audio.tags.add(TXXX(encoding=3, desc=NAME, text=[text]))
    elif format == "m4a":
        audio[ATOM] = [MP4FreeForm(text.encode())]
    else:
        audio[NAME] = [text]
    buffer.seek(0)
    audio.save(buffer)
    return _with_fixed_serial(buffer.getvalue()) if format in ("ogg", "opus") else buffer.getvalue()


def _text(file: ByteFile, format: str) -> str | None:
    audio = _READERS[format](file)
    if audio.tags is None:
        return None
    if isinstance(audio.tags, ID3):
        frame = audio.tags.get(f"TXXX:{NAME}")
        return None if frame is None else str(frame.text[0])
    if format == "m4a":
        return next((bytes(value).decode() for value in audio.tags.get(ATOM, [])), None)
    return next(iter(audio.tags.get(NAME, [])), None)


def _with_fixed_serial(content: bytes) -> bytes:
    """The Ogg file with stream number 1: the encoder takes it from the clock, so that equal clips would differ."""
    source = io.BytesIO(content)
    pages = []
    while source.tell() < len(content):
        page = OggPage(source)
        page.serial = 1
        pages.append(page.write())
    return b"".join(pages)
