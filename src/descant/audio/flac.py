"""FLAC files whose header promises too few samples: concatenated files, or a wrong number.

libsndfile stops at the header's number without an error. The last frames of a file store their own position.
"""

import mmap

Content = bytes | mmap.mmap

MARK = b"fLaC"
_MARK_AND_STREAMINFO = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
SEARCHED_BYTES = 1 << 16
"""How much of a file's end is searched for its last frame, or twice the longest frame by the header if that is more."""

_BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{c: 256 << c - 8 for c in range(8, 16)}}
_CRC_POLYNOMIAL = 0x07


def parts(content: Content) -> list[tuple[int, int]]:
    """The concatenated files, as (first byte, end)."""
    starts = [0]
    while (begin := _next_start(content, _metadata_end(content, starts[-1]))) is not None:
        starts.append(begin)
    return list(zip(starts, [*starts[1:], len(content)], strict=True))


def num_samples(content: Content) -> int:
    """The number of samples by the header; 0 if unknown."""
    return int.from_bytes(content[21:26], "big") & 0xF_FFFF_FFFF


def bits_per_sample(content: Content) -> int:
    """Bits per sample, 4 to 32."""
    return (int.from_bytes(content[18:26], "big") >> 36 & 31) + 1


def last_sample(content: Content) -> int | None:
    """The number of samples up to the end of the last frame, by its own header; None if no frame is found."""
    begin = _metadata_end(content, 0)
    block, longest_frame = int.from_bytes(content[8:10], "big"), int.from_bytes(content[15:18], "big")
    lowest, at = max(begin, len(content) - max(SEARCHED_BYTES, 2 * longest_frame)), len(content)
    while (at := content.rfind(b"\xff", lowest, at)) >= 0:
        if (end := _frame_end(content[at : at + 16], block)) is not None:
            return end
    return None


def _metadata_end(content: Content, start: int) -> int:
    """The end of the metadata blocks that follow a mark."""
    at, is_last = start + len(MARK), False
    while not is_last and at + 4 <= len(content):
        is_last = content[at] & 0x80 != 0
        at += 4 + int.from_bytes(content[at + 1 : at + 4], "big")
    return at


def _next_start(content: Content, at: int) -> int | None:
    found = [place for mark in _MARK_AND_STREAMINFO if (place := content.find(mark, at)) >= 0]
    return min(found, default=None)


def _frame_end(head: bytes, usual_block: int) -> int | None:
    """The index of the sample after a frame, by its header (RFC 9639, section 9.1); None if this is not a frame."""
    if len(head) < 16 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, at = _coded_number(head, 4)
    if number is None or size_code == 0 or rate_code == 15:
        return None
    block = _BLOCK_SIZES.get(size_code, 0)
    if size_code in (6, 7):
        width = size_code - 5
        block, at = int.from_bytes(head[at : at + width], "big") + 1, at + width
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc(head[:at]) != head[at]:
        return None
    # Blocks of a fixed size are numbered (only the last may be shorter); for variable sizes samples are numbered.
    return (number if head[1] & 1 else number * usual_block) + block


def _coded_number(head: bytes, at: int) -> tuple[int | None, int]:
    """A number coded as in UTF-8, up to seven bytes long, and the position after it."""
    num_ones = 8 - (~head[at] & 0xFF).bit_length()
    if num_ones in (1, 8):
        return None, at
    width = max(1, num_ones)
    value = head[at] & (0x7F >> num_ones)
    for byte in head[at + 1 : at + width]:
        if byte >> 6 != 2:
            return None, at
        value = value << 6 | byte & 0x3F
    return value, at + width


def _crc(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (_CRC_POLYNOMIAL if value & 0x80 else 0)) & 0xFF
    return value
