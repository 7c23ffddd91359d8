"""The metadata of generated files: one JSON object in their tags, the same in every format we write.

The JSON is ASCII, so that no tag format can change it. It is stored under the name ``descant``: a Vorbis comment in
flac, ogg and opus, a TXXX frame of an ID3 tag in mp3, wav and aiff, a free-form atom in m4a. What reads
and writes tags, tag_files.py, is imported where it is needed: loading a model should not wait for it.
"""

import json
import re
from typing import Any

from descant.audio.files import AnyFile, open_regular, quoted
from descant.audio.sniff import HEAD_BYTES, refuse_text
from descant.audio.source import ByteFile, UnreadableAudio
from descant.errors import AudioError, InvalidRequest

NAME = "descant"

_BEGINNINGS = {
    "wav": rb"RIFF.{4}WAVE",
    "flac": rb"fLaC",
    "opus": rb"OggS.{24}OpusHead",
    "ogg": rb"OggS.{24}\x01vorbis",
    "aiff": rb"FORM.{4}AIF[FC]",
    "m4a": rb".{4}ftyp",
    "mp3": rb"ID3",
}
"""How the files begin that can have metadata of ours."""


def read_info(path: AnyFile) -> dict[str, Any]:
    """The ``info`` of the clip that was saved in this file; empty if it holds none of ours, as in all other formats.

    Raises:
        AudioError: the file cannot be opened or is text, or its tags are damaged.
    """
    from descant.audio.tag_files import text_of

    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
        format = next((name for name, begin in _BEGINNINGS.items() if re.match(begin, head, re.DOTALL)), None)
        if format is None:
            try:
                refuse_text(head)
            except UnreadableAudio as error:
                raise AudioError(f"{quoted(path)} {error}") from error
            return {}
        file.seek(0)
        try:
            text = text_of(file, format, NAME)
            info = {} if text is None else json.loads(text)
        # For damaged files mutagen raises its own errors, but also IndexError, struct.error and others.
        except Exception as error:
            raise unreadable_tags(file, path, error) from error
    if not isinstance(info, dict):
        raise AudioError(f"the tag {NAME!r} of {quoted(path)} holds no JSON object")
    return info


def unreadable_tags(file: ByteFile, path: AnyFile, error: Exception) -> AudioError:
    """Why there are no tags: the file is text and no audio, or else they are damaged."""
    file.seek(0)
    try:
        refuse_text(file.read(HEAD_BYTES))
    except UnreadableAudio as reason:
        return AudioError(f"{quoted(path)} {reason}")
    return AudioError(f"the tags of {quoted(path)} cannot be read: {' '.join(str(error).split())}")


def with_info(content: bytes, format: str, info: dict[str, Any]) -> bytes:
    """The bytes of an audio file with ``info`` in its tags.

    Raises:
        InvalidRequest: ``info`` cannot be written as JSON.
    """
    try:
        text = json.dumps(info, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"info cannot be written as JSON: {error}") from error
    from descant.audio.tag_files import with_text

    return with_text(content, format, NAME, text)
