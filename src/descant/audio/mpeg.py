"""MPEG audio (MP1, MP2, MP3) and ADTS (AAC), frame by frame: which bytes are audio, which are tags, which are neither.

FFmpeg skips whatever it does not understand between two frames. Walking along the frames' own lengths shows what it
skipped, without decoding.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

Content = bytes | mmap.mmap

_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_ADTS_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
MAX_LYRICS_BYTES = 5_200
"""How far to search for the end of a Lyrics3 tag: its first version allows 5,100 bytes of lyrics."""


@dataclass(frozen=True)
class Frame:
    """The header of a frame. ``kind`` is the same for all frames of one stream."""

    kind: int
    num_bytes: int
    num_samples: int
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


ReadFrame = Callable[[Content, int], Frame | None]


@dataclass
class FrameRun:
    """Frames that were written as one file; a file joined from several ones has several runs.

    ``spans`` are the places of its frames, as (first byte, end); ``promised_frames`` is their number by its header.
    """

    kind: int
    promised_frames: int | None
    num_frames: int = 0
    duration_s: float = 0.0
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, at: int, frame: Frame) -> None:
        """Adds the frame that starts at byte ``at``."""
        self.num_frames += 1
        self.duration_s += frame.duration_s
        end = at + frame.num_bytes
        if self.spans and self.spans[-1][1] == at:
            at = self.spans.pop()[0]
        self.spans.append((at, end))

    @property
    def promised_s(self) -> float:
        """The length with all promised frames, in seconds."""
        return self.duration_s / self.num_frames * (self.promised_frames or self.num_frames)


@dataclass
class Walk:
    """The frames of a file.

    ``gaps`` are bytes that are neither frames nor tags, as (seconds of audio before them, number of bytes).
    ``torn_bytes`` is the size of an incomplete last frame.
    """

    runs: list[FrameRun] = field(default_factory=list)
    gaps: list[tuple[float, int]] = field(default_factory=list)
    torn_bytes: int = 0

    @property
    def duration_s(self) -> float:
        """Length of all frames in seconds."""
        return sum((run.duration_s for run in self.runs), 0.0)


def mpeg_frame(content: Content, at: int) -> Frame | None:
    """The frame of MPEG audio at byte ``at``, if there is one. Frames of free bitrate are not recognised."""
    if at + 4 > len(content) or content[at] != 0xFF or content[at + 1] & 0xE0 != 0xE0:
        return None
    second, third = content[at + 1], content[at + 2]
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    bitrate, rate = third >> 4, third >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    rate_hz = _RATES_HZ[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    bits = 1_000 * _KBITS[1 if version == 3 else 2, layer][bitrate]
    padding = third >> 1 & 1
    if layer == 1:
        num_bytes, num_samples = (12 * bits // rate_hz + padding) * 4, 384
    else:
        num_samples = 576 if layer == 3 and version != 3 else 1_152
        num_bytes = num_samples // 8 * bits // rate_hz + padding
    return Frame(second & 0xFE | (third & 0x0C) << 8, num_bytes, num_samples, rate_hz)


def adts_frame(content: Content, at: int) -> Frame | None:
    """The ADTS frame of AAC at byte ``at``, if there is one."""
    if at + 7 > len(content) or content[at] != 0xFF or content[at + 1] & 0xF6 != 0xF0:
        return None
    rate = content[at + 2] >> 2 & 15
    num_bytes = (content[at + 3] & 3) << 11 | content[at + 4] << 3 | content[at + 5] >> 5
    if rate >= len(_ADTS_RATES_HZ) or num_bytes < 8:
        return None
    num_samples = 1_024 * (1 + (content[at + 6] & 3))
    return Frame(content[at + 1] & 0xFE | rate << 8, num_bytes, num_samples, _ADTS_RATES_HZ[rate])


def first_frame(content: Content, at: int, read_frame: ReadFrame, num_followers: int = 1) -> int | None:
    """The position of the next frame that is followed by others of its kind, or ends the file."""
    while (at := content.find(b"\xff", at)) >= 0:
        frame = read_frame(content, at)
        if frame is not None and _is_followed(content, at, frame, read_frame, num_followers):
            return at
        at += 1
    return None


def _is_followed(content: Content, at: int, frame: Frame, read_frame: ReadFrame, count: int) -> bool:
    for number in range(count):
        at += frame.num_bytes
        if at >= len(content):
            # The last of several may be incomplete.
            return at == len(content) or number > 0
        following = read_frame(content, at)
        if following is None or following.kind != frame.kind:
            return _tag_end(content, at) is not None
        frame = following
    return True


def walk(content: Content, read_frame: ReadFrame) -> Walk:
    """Walks along the frames of a file from its first byte to its last.

    A mapped file should be mapped up to ``audio_end`` only: slicing it would copy it into memory.
    """
    found, end = Walk(), audio_end(content)
    if end < len(content):
        content = content[:end]
    at = 0
    while at < end:
        frame = read_frame(content, at)
        if frame is not None and at + frame.num_bytes <= end and _continues(found, content, at, frame, read_frame):
            promised = _promised_frames(content, at)
            if not found.runs or promised is not None:
                found.runs.append(FrameRun(frame.kind, promised))
            found.runs[-1].kind = frame.kind
            found.runs[-1].add(at, frame)
            at += frame.num_bytes
            continue
        if (behind := _tag_end(content, at)) is not None:
            at = min(behind, end)
            continue
        following = first_frame(content, at + 1, read_frame)
        if following is None and frame is not None and found.runs:
            found.torn_bytes = end - at
            break
        following = end if following is None else following
        if content[at:following].strip(b"\0"):
            found.gaps.append((found.duration_s, following - at))
        at = following
    return found


def _continues(found: Walk, content: Content, at: int, frame: Frame, read_frame: ReadFrame) -> bool:
    """Whether a frame is plausible: noise can look like a frame, but hardly like the frames before it."""
    if found.runs and found.runs[-1].kind == frame.kind:
        return True
    return _is_followed(content, at, frame, read_frame, count=2)


def _promised_frames(content: Content, at: int) -> int | None:
    """The number of frames by the Xing, Info or VBRI header in the frame at ``at``, that frame included."""
    body = content[at : at + 64]
    is_mono, is_first = len(body) == 64 and body[3] >> 6 == 3, len(body) == 64 and body[1] & 0x08
    place = (21 if is_mono else 36) if is_first else (13 if is_mono else 21)
    if body[place : place + 4] in (b"Xing", b"Info"):
        flags, count = struct.unpack_from(">II", body, place + 4)
        return count + 1 if flags & 1 and count else None
    if body[36:40] == b"VBRI":
        return struct.unpack_from(">I", body, 50)[0] + 1
    return None


def id3_size(content: Content, at: int = 0) -> int:
    """The size of the ID3v2 tag at byte ``at``, 0 if there is none."""
    head = content[at : at + 10]
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _tag_end(content: Content, at: int) -> int | None:
    """The end of the tag at byte ``at``, if there is one."""
    if size := id3_size(content, at):
        return at + size
    if content[at : at + 8] == b"APETAGEX" and at + 32 <= len(content):
        size, _, flags = struct.unpack_from("<III", content, at + 12)
        # The size includes the footer; of a footer alone, the counted bytes lie before it.
        return at + 32 + (size if flags & 1 << 29 else 0)
    if content[at : at + 3] == b"TAG":
        return at + 128
    if content[at : at + 11] == b"LYRICSBEGIN":
        ends = [content.find(mark, at, at + MAX_LYRICS_BYTES) for mark in (b"LYRICSEND", b"LYRICS200")]
        return min((place + 9 for place in ends if place >= 0), default=None)
    return None


def audio_end(content: Content) -> int:
    """The position where the tags at the end of a file begin."""
    end, before = len(content), -1
    while end != before:
        before = end
        if content[max(0, end - 128) : end - 125] == b"TAG":
            end -= 128
        elif content[max(0, end - 32) : end - 24] == b"APETAGEX":
            size, _, flags = struct.unpack_from("<III", content, end - 20)
            end -= size + (32 if flags & 1 << 31 else 0)
        elif content[max(0, end - 9) : end] == b"LYRICS200" and content[end - 15 : end - 9].isdigit():
            end -= int(content[end - 15 : end - 9]) + 15
        elif content[max(0, end - 9) : end] == b"LYRICSEND":
            begin = content.rfind(b"LYRICSBEGIN", max(0, end - MAX_LYRICS_BYTES), end)
            end = begin if begin >= 0 else end
        end = max(end, 0)
    # Zeros at the end stay: they may belong to the last frame, and are harmless after it.
    return end
