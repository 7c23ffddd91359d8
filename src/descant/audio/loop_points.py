"""Loop points in audio files, for samplers and game engines: the whole file is the loop."""

import struct

from descant.audio.tag_files import with_text
from descant.errors import InvalidRequest

FORMATS = ("wav", "ogg")
_HEADER = struct.Struct("<4sI4s")
_SAMPLER = struct.Struct("<9I6I")
MIDDLE_C = 60


def with_loop_points(content: bytes, format: str, num_samples: int, sample_rate_hz: int) -> bytes:
    """The bytes of an audio file that also say that it is a loop from its first sample to its last.

    A wav file gets a ``smpl`` chunk (Multimedia Programming Interface and Data Specifications 1.0), an ogg file the
    comments ``LOOPSTART`` and ``LOOPLENGTH`` in samples, as RPG Maker and Godot's importers read them.

    Raises:
        InvalidRequest: another format, which has no place for it.
    """
    if format == "wav":
        return _with_sampler_chunk(content, num_samples, sample_rate_hz)
    if format == "ogg":
        return with_text(with_text(content, "ogg", "LOOPSTART", "0"), "ogg", "LOOPLENGTH", str(num_samples))
    raise InvalidRequest(f"format={format!r:.20}: loop points are written to {' and '.join(FORMATS)} files")


def _with_sampler_chunk(content: bytes, num_samples: int, sample_rate_hz: int) -> bytes:
    # Manufacturer, product, nanoseconds of a sample, note, fraction, SMPTE format and offset, one loop, no more data;
    # of the loop: its name, forward, its first and its last sample, fraction, played for ever.
    sampler = (0, 0, round(1e9 / sample_rate_hz), MIDDLE_C, 0, 0, 0, 1, 0)
    loop = (0, 0, 0, num_samples - 1, 0, 0)
    body = content[_HEADER.size :] + b"smpl" + struct.pack("<I", _SAMPLER.size) + _SAMPLER.pack(*sampler, *loop)
    return _HEADER.pack(b"RIFF", len(body) + 4, b"WAVE") + body
