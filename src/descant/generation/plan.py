"""The plan of a request: sections with one prompt each, and the windows in which they are generated.

Music longer than the clips that a model was trained on is generated in windows that overlap: each begins with the last
frames of what is already there (as in audiocraft's MusicGen.generate). A new prompt starts a new window, so that its
first frame is the first one that is drawn under it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from descant.errors import InvalidRequest
from descant.tempo_key import UNKNOWN, TempoKey, parse_tempo_key

STRIDE_SHARE = 0.6
"""How far a window moves on by default, as a share of its length: 18 of 30 s in the released models."""


@dataclass(frozen=True)
class Window:
    """Frames ``start`` to ``end`` are generated; the model sees those from ``first`` on.

    Args:
        section: index of the section whose prompt applies.
    """

    first: int
    start: int
    end: int
    section: int

    @property
    def num_frames(self) -> int:
        """All frames that the model sees, known and new."""
        return self.end - self.first


@dataclass(frozen=True)
class Section:
    """A prompt, the first frame that it applies to, and the number of beats before that frame.

    The beat is continued if the section before has a tempo too; otherwise the section begins on a beat.

    Args:
        fallback: tempo and key where the prompt states none.
    """

    start: int
    text: str | None
    beats: float = 0.0
    fallback: TempoKey = UNKNOWN

    @property
    def tempo_key(self) -> TempoKey:
        """What the prompt states, and ``fallback`` where it states nothing."""
        return parse_tempo_key(self.text).completed(self.fallback)

    def beats_before(self, frame: int, frame_rate_hz: float) -> float:
        """The number of beats before a frame in this section's tempo; 0 if it has none."""
        bpm = self.tempo_key.bpm
        return 0.0 if bpm is None else self.beats + (frame - self.start) / frame_rate_hz * bpm / 60

    def followed_by(self, start: int, text: str | None, frame_rate_hz: float) -> "Section":
        """The next section, which begins with frame ``start``."""
        return Section(start, text, self.beats_before(start, frame_rate_hz), self.fallback)


def plan_sections(
    text: str | None,
    timeline: Sequence[tuple[float, str]],
    num_frames: int,
    frame_rate_hz: float,
    fallback: TempoKey = UNKNOWN,
) -> list[Section]:
    """The sections of ``text`` and the prompts (second, text) that follow it; the first begins with frame 0.

    Args:
        fallback: tempo and key where a prompt states none.

    Raises:
        InvalidRequest: two prompts begin with the same frame, or one begins after the last of ``num_frames`` frames.
    """
    sections = [Section(0, text, fallback=fallback)]
    for second, later_text in timeline:
        start = first_frame(second, frame_rate_hz)
        if start == sections[-1].start:
            raise InvalidRequest(
                f"timeline: the prompt at second {second:g} begins with the same frame as the one before; "
                f"there are {frame_rate_hz:g} frames a second"
            )
        if start >= num_frames:
            raise InvalidRequest(
                f"timeline: no frame of the music begins at or after second {second:g}; "
                "ask for longer music, or leave the prompt out"
            )
        sections.append(sections[-1].followed_by(start, later_text, frame_rate_hz))
    return sections


def first_frame(second: float, frame_rate_hz: float) -> int:
    """The first frame that begins at or after a second."""
    # Rounded first: 0.14 s is a whole number of frames, but its product with the rate is not.
    return math.ceil(round(second * frame_rate_hz, 6))


def plan_windows(
    num_frames: int, num_known: int, window_frames: int, overlap_frames: int, sections: Sequence[Section]
) -> list[Window]:
    """The windows that generate frames ``num_known`` to ``num_frames``.

    Args:
        window_frames: length of the longest window.
        overlap_frames: known frames at the beginning of a later window, fewer than ``window_frames``.
    """
    windows, start = [], num_known
    while start < num_frames:
        first = 0 if start < window_frames else start - overlap_frames
        current = max(index for index, section in enumerate(sections) if section.start <= start)
        changes = [section.start for section in sections[current + 1 :]]
        end = min([num_frames, first + window_frames, *changes])
        windows.append(Window(first, start, end, current))
        start = end
    return windows


def window_lengths(limit_s: float, stride_s: float | None, frame_rate_hz: float) -> tuple[int, int]:
    """``window_frames`` and ``overlap_frames`` for a model trained on clips of up to ``limit_s`` seconds.

    Args:
        stride_s: how far a window moves on; None is the default share of its length.

    Raises:
        InvalidRequest: the stride is not shorter than a window.
    """
    if stride_s is not None and stride_s >= limit_s:
        raise InvalidRequest(f"stride_s={stride_s:g}: must be shorter than this model's windows of {limit_s:g} s")
    window_frames = max(1, round(limit_s * frame_rate_hz))
    stride_frames = round(window_frames * STRIDE_SHARE if stride_s is None else stride_s * frame_rate_hz)
    return window_frames, window_frames - max(1, min(stride_frames, window_frames - 1))
