"""Ogg pages: where chained streams begin and end, and which pages are missing or damaged.

FFmpeg drops a page whose checksum is wrong, and may stop or continue where another stream follows; so chained streams
are decoded one by one.
"""

import struct
import zlib
from dataclasses import dataclass, field

from descant.audio.mpeg import Content

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass
class Pages:
    """The streams and faults of an Ogg file."""

    links: list[tuple[int, int]] = field(default_factory=list)
    """The chained streams, as (first byte, end); streams played simultaneously are one link."""
    losses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def walk(content: Content) -> Pages:
    """Walks along the pages of a file."""
    pages, at, size = Pages(), 0, len(content)
    sequences: dict[int, int] = {}
    start, in_headers, is_ended = 0, True, True
    num_damaged = num_missing = 0
    first_damage = 0
    while at < size:
        length = page_size(content, at)
        if length is None or at + length > size:
            following = content.find(b"OggS", at + 1)
            if following < 0:
                if length is None:
                    pages.notes += [f"its last {size - at} bytes are not audio and were skipped"] * bool(
                        content[at:].strip(b"\0")
                    )
                else:
                    pages.losses.append(f"it is cut short: its last page has {size - at} of {length} bytes")
                    is_ended = True
                break
            num_damaged += 1
            first_damage = first_damage or at
            at = following
            continue
        flags, _, serial, sequence, checksum = struct.unpack_from("<BqIII", content, at + 5)
        if checksum != _checksum(content[at : at + length]):
            num_damaged += 1
            first_damage = first_damage or at
        if flags & 2:
            if not in_headers:
                pages.links.append((start, at))
                start, in_headers = at, True
                sequences.clear()
        else:
            in_headers = False
            gap = sequence - sequences.get(serial, sequence - 1) - 1
            num_missing += max(0, gap)
        sequences[serial] = sequence
        is_ended = bool(flags & 4)
        at += length
    pages.links.append((start, size))
    if num_damaged:
        pages.losses.append(f"{num_damaged} damaged page{'s' * (num_damaged > 1)}, the first at byte {first_damage}")
    elif num_missing:
        pages.losses.append(f"{num_missing} missing page{'s' * (num_missing > 1)}")
    if not is_ended:
        pages.notes.append("it has no end mark, as if it was cut or recorded from a broadcast")
    return pages


def is_vorbis(content: Content, start: int) -> bool:
    """Whether the stream at byte ``start`` is Vorbis and the only one of its link."""
    size = page_size(content, start)
    if size is None or content[start + 28 : start + 35] != b"\x01vorbis":
        return False
    flags = content[start + size + 5 : start + size + 6]
    return bool(flags) and not flags[0] & 2


def page_size(content: Content, at: int) -> int | None:
    """The size of the page at byte ``at``, None if there is none."""
    if content[at : at + 5] != b"OggS\0" or at + 27 > len(content):
        return None
    count = content[at + 26]
    return 27 + count + sum(content[at + 27 : at + 27 + count])


def _checksum(page: bytes) -> int:
    """Ogg's CRC: zlib's polynomial with reversed bits and without inversions."""
    blanked = page[:22] + bytes(4) + page[26:]
    # zlib inverts at the start and at the end: starting from all ones and inverting the result undoes both.
    reversed_crc = zlib.crc32(blanked.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{reversed_crc:032b}"[::-1], 2)
