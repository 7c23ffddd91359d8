"""Containers whose parts store their sizes: whether such a file was cut, and how much is missing."""

import struct

from descant.audio.source import ByteFile, size_of

_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c 47a9 cf11 8ee4 00c00c205365")
_SEGMENT = 0x1853_8067
_MAX_BOXES = 1_000_000


def _cut(promised: int, size: int) -> list[str]:
    if promised <= size:
        return []
    return [f"it is cut short: {promised - size} of {promised} bytes are missing at its end"]


def losses_of_mov(file: ByteFile) -> list[str]:
    """What is missing of an MP4 or QuickTime file, by its outermost boxes."""
    size, at, has_index, lost = size_of(file), 0, False, 0
    for _ in range(_MAX_BOXES):
        if at > size:  # perhaps too far beyond the end for a seek
            break
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        length, name = struct.unpack_from(">I4s", head)
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack_from(">Q", head, 8)
        elif length == 0:
            length = size - at
        if length < 8:
            break
        has_index |= name in (b"moov", b"moof")
        at += length
        lost = max(0, at - size)
    if not has_index:
        return ["it is cut short: its index (moov) is missing, as if the recording was not finished"]
    return _cut(size + lost, size)


def losses_of_matroska(file: ByteFile) -> list[str]:
    """What is missing of a Matroska or WebM file, by the size of its segment; nothing if that is unknown."""
    size = size_of(file)
    file.seek(0)
    for _ in range(8):
        name, _ = _vint(file, keeps_mark=True)
        length, is_open = _vint(file, keeps_mark=False)
        if name is None or length is None:
            return []
        if name == _SEGMENT:
            return [] if is_open else _cut(file.tell() + length, size)
        if file.tell() + length > size:
            return _cut(file.tell() + length, size)
        file.seek(length, 1)
    return []


def _vint(file: ByteFile, keeps_mark: bool) -> tuple[int | None, bool]:
    """A number of EBML, and whether all its bits are set, which means unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None, False
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    value = int.from_bytes(first + rest, "big")
    mask = (1 << 7 * width) - 1
    return (value if keeps_mark else value & mask), value & mask == mask


def losses_of_asf(file: ByteFile) -> list[str]:
    """What is missing of a WMA or ASF file, by the size in its header; nothing for a broadcast."""
    file.seek(0)
    head = file.read(1 << 16)
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 104:
        return []
    (promised,) = struct.unpack_from("<Q", head, at + 40)
    (flags,) = struct.unpack_from("<I", head, at + 88)
    return [] if flags & 1 else _cut(promised, size_of(file))


def losses_of_wavpack(file: ByteFile) -> list[str]:
    """What is missing of a WavPack file: the samples that its first block promises and no block has."""
    size, at, num_samples = size_of(file), 0, 0
    promised: int | None = None
    for _ in range(_MAX_BOXES):
        if at > size:
            break
        file.seek(at)
        head = file.read(32)
        if len(head) < 32 or head[:4] != b"wvpk":
            break
        length, _, high_index, high_total, total, _, count, flags = struct.unpack_from("<IHBBIIII", head, 4)
        if promised is None and total != 0xFFFF_FFFF:
            promised = total | high_total << 32
        at += 8 + length
        del high_index
        # The first block of a sequence counts; others hold further channels of the same samples.
        if at <= size and flags & 0x800:
            num_samples += count
    if promised is not None and num_samples < promised:
        return [f"it is cut short: its header promises {promised} samples, {num_samples} are there"]
    return []
