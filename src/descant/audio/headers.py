"""Headers of containers that store the size of their audio data: WAV, W64, AIFF, AU and CAF.

Where a header promises more bytes than the file has, libsndfile reads half a recording without an error; so the two are
compared here.
"""

import struct
from dataclasses import dataclass

from descant.audio.source import ByteFile, size_of

STREAMED_BYTES = 0x7FFF_0000
"""From this size on a header means "unknown": writers into a pipe leave the largest number, or nearly."""

W64_RIFF = bytes.fromhex("72696666 2e91cf11 a5d628db 04c10000")
W64_TAIL = bytes.fromhex("f3acd311 8cd100c0 4f8edb8a")

_WAV_EXACT = {1: "PCM", 3: "float", 6: "A-law", 7: "mu-law"}
_AIFF_EXACT = {b"NONE", b"sowt", b"twos", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32", b"23ni"}
_AIFF_EXACT |= {b"ulaw", b"alaw", b"ULAW", b"ALAW"}
_AU_EXACT = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_MAX_CHUNKS = 10_000


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a header says about the audio data.

    Args:
        is_exact: samples are stored uncompressed, each at a position that can be computed.
        promised: bytes of audio data by the header; None if it leaves that open.
        present: bytes between the header and the end of the file, at most ``promised``.
        bytes_per_s: of the audio data; 0 if the header does not say.
    """

    is_exact: bool
    promised: int | None
    present: int
    bytes_per_s: float = 0.0

    @property
    def loss(self) -> str | None:
        """A message that says what is missing, if anything."""
        if self.promised is None or self.present >= self.promised:
            return None
        if not self.bytes_per_s:
            return f"it is cut short: its header promises {self.promised} bytes of audio, {self.present} are there"
        promised_s, present_s = (size / self.bytes_per_s for size in (self.promised, self.present))
        return f"it is cut short: its header promises {promised_s:.2f} s, {present_s:.2f} s are there"


def read_header(file: ByteFile) -> Header | None:
    """The header of one of these containers; None for other files, and if the audio data is not found."""
    file.seek(0)
    magic = file.read(16)
    reader = None
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE":
        reader = _wav
    elif magic == W64_RIFF:
        reader = _w64
    elif magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC"):
        reader = _aiff
    elif magic[:4] == b".snd":
        reader = _au
    elif magic[:4] == b"caff":
        reader = _caf
    if reader is None:
        return None
    try:
        return reader(file, size_of(file))
    # A seek to an impossible position is an OSError.
    except (struct.error, OverflowError, ValueError, OSError):
        return None


def _wav(file: ByteFile, size: int) -> Header | None:
    file.seek(0)
    magic = file.read(4)
    order = ">" if magic == b"RIFX" else "<"
    file.seek(12)
    fields, long_size = b"", None
    for _ in range(_MAX_CHUNKS):
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        start = file.tell()
        if name == b"ds64":
            long_size = struct.unpack("<QQ", file.read(16))[1]
        elif name == b"fmt ":
            fields = file.read(min(length, 64))
        elif name == b"data":
            if long_size is not None and length == 0xFFFF_FFFF:
                length = long_size
            elif (length == 0 and not _are_chunks(file, start, size, order)) or length >= STREAMED_BYTES > size:
                # With nothing after it there is no audio; otherwise it was written into a pipe.
                return _described_wav(fields, order, None, size - start)
            return _described_wav(fields, order, length, min(length, size - start))
        file.seek(start + length + length % 2)
    return None


def _are_chunks(file: ByteFile, at: int, size: int, order: str) -> bool:
    """Whether named chunks, such as tags, fill the file from byte ``at`` to its end."""
    begin = at
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if not (name.isascii() and name.decode("latin-1").isprintable()):
            return False
        at += 8 + length
        if at == size:
            return True
        at += length % 2
    return begin < at == size


def _described_wav(fields: bytes, order: str, promised: int | None, present: int) -> Header:
    code, channels, rate, bytes_per_s, align, bits = struct.unpack(f"{order}HHIIHH", fields[:16])
    if code == 0xFFFE and len(fields) >= 26:
        (code,) = struct.unpack(f"{order}H", fields[24:26])
    is_plain = code in _WAV_EXACT and order == "<" and align == channels * -(-bits // 8) > 0
    if is_plain:
        bytes_per_s = align * rate
    is_plain &= promised is not None
    return Header(is_exact=is_plain, promised=promised, present=present, bytes_per_s=float(bytes_per_s))


def _w64(file: ByteFile, size: int) -> Header | None:
    file.seek(40)
    fields = b""
    for _ in range(_MAX_CHUNKS):
        guid, length = struct.unpack("<16sQ", file.read(24))
        start = file.tell()
        if guid == b"fmt " + W64_TAIL:
            fields = file.read(min(length - 24, 64))
        elif guid == b"data" + W64_TAIL:
            promised = length - 24
            return _described_wav(fields, "<", promised, min(promised, size - start))
        if length < 24:
            return None
        file.seek(start + -(-(length - 24) // 8) * 8)
    return None


def _aiff(file: ByteFile, size: int) -> Header | None:
    file.seek(8)
    is_compressed = file.read(4) == b"AIFC"
    common, sound = b"", None
    for _ in range(_MAX_CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = struct.unpack(">4sI", chunk)
        start = file.tell()
        if name == b"COMM":
            common = file.read(min(length, 64))
        elif name == b"SSND":
            (skipped,) = struct.unpack(">I", file.read(4))
            sound = (length, start + 8 + skipped)
        if common and sound:
            break
        file.seek(start + length + length % 2)
    if not (common and sound):
        return None
    channels, frames, bits, exponent, mantissa = struct.unpack(">hIhHQ", common[:18])
    rate = mantissa * 2.0 ** (exponent - 16_383 - 63)
    kind = common[18:22] if is_compressed else b"NONE"
    length, start = sound
    is_exact = kind in _AIFF_EXACT
    if not is_exact:
        promised: int | None = None if length in (0, 8) or length >= STREAMED_BYTES > size else length - 8
        return Header(is_exact=False, promised=promised, present=min(size - start, promised or size))
    width = channels * {b"ulaw": 1, b"alaw": 1, b"ULAW": 1, b"ALAW": 1}.get(kind, -(-bits // 8))
    if frames == 0 or length in (0, 8) or length >= STREAMED_BYTES > size:
        return Header(is_exact=False, promised=None, present=size - start, bytes_per_s=float(width * rate))
    promised = frames * width
    return Header(
        is_exact=True, promised=promised, present=min(promised, size - start), bytes_per_s=float(width * rate)
    )


def _au(file: ByteFile, size: int) -> Header | None:
    file.seek(4)
    start, length, encoding, rate, channels = struct.unpack(">5I", file.read(20))
    if encoding not in _AU_EXACT:
        promised = None if length == 0xFFFF_FFFF else length
        return Header(is_exact=False, promised=promised, present=min(size - start, promised or size))
    width = _AU_EXACT[encoding] * channels
    if length == 0xFFFF_FFFF:
        # The format's own value for an unknown size: libsndfile then reads to the end.
        length = (size - start) // width * width
    is_exact = length > 0 and width > 0
    return Header(
        is_exact=is_exact,
        promised=length or None,
        present=min(length or size, size - start),
        bytes_per_s=float(width * rate),
    )


def _caf(file: ByteFile, size: int) -> Header | None:
    file.seek(8)
    is_exact, bytes_per_s = False, 0.0
    for _ in range(_MAX_CHUNKS):
        name, length = struct.unpack(">4sq", file.read(12))
        start = file.tell()
        if name == b"desc":
            rate, kind, _, packet, _, _, _ = struct.unpack(">d4s5I", file.read(32))
            is_exact = kind in (b"lpcm", b"ulaw", b"alaw")
            bytes_per_s = packet * rate if is_exact else 0.0
        elif name == b"data":
            start += 4
            if length == -1:
                return Header(is_exact=False, promised=None, present=size - start, bytes_per_s=float(bytes_per_s))
            promised = length - 4
            present = min(promised, size - start)
            # libsndfile refuses a CAF file that is cut short.
            is_exact &= present == promised
            return Header(is_exact=is_exact, promised=promised, present=present, bytes_per_s=float(bytes_per_s))
        if length < 0:
            return None
        file.seek(start + length)
    return None
