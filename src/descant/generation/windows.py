"""Music longer than a model was trained for: windows that slide over it, and prompts that follow each other.

Each window begins with the end of what is there already. A new prompt begins a window of its own, so that its first
frame is the first one that is drawn under it (the sliding is that of audiocraft's MusicGen.generate).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from descant.errors import InvalidRequest
from descant.generation.request import Request
from descant.tempo_key import parse_tempo_key

STRIDE_SHARE = 0.6
"""Of a window, how far it slides where nobody says: 18 of 30 s in the released models."""


@dataclass(frozen=True)
class Window:
    """Frames ``start`` to ``end`` are made; the model sees those from ``first`` on.

    Args:
        section: which of the request's prompts it is made under.
    """

    first: int
    start: int
    end: int
    section: int

    @property
    def num_frames(self) -> int:
        """As many as the model sees and makes."""
        return self.end - self.first


@dataclass(frozen=True)
class Section:
    """A prompt, the frame from which it counts, and how many beats lie before that frame.

    Where the prompt before states a tempo too, the beat goes on; else a section begins with one.
    """

    start: int
    text: str | None
    beats: float = 0.0

    def beats_before(self, frame: int, frame_rate_hz: float) -> float:
        """How many beats lie before a frame, by this section's tempo; 0 where it states none."""
        bpm = parse_tempo_key(self.text).bpm
        return 0.0 if bpm is None else self.beats + (frame - self.start) / frame_rate_hz * bpm / 60

    def followed_by(self, start: int, text: str | None, frame_rate_hz: float) -> "Section":
        """The section that comes after this one."""
        return Section(start, text, self.beats_before(start, frame_rate_hz))


def sections_of(request: Request, frame_rate_hz: float) -> list[Section]:
    """The prompts of a request in their order, the first from frame 0 on.

    Raises:
        InvalidRequest: two prompts begin with the same frame.
    """
    sections = [Section(0, request.text)]
    for second, text in request.timeline:
        # Rounded first: a second such as 0.14 is a whole number of frames, though its product with the rate is none.
        start = math.ceil(round(second * frame_rate_hz, 6))
        if start == sections[-1].start:
            raise InvalidRequest(
                f"timeline: the prompt at second {second:g} begins with the same frame as the one before; "
                f"there are {frame_rate_hz:g} frames a second"
            )
        sections.append(sections[-1].followed_by(start, text, frame_rate_hz))
    return sections


def plan_windows(num_frames: int, num_known: int, room: int, keep: int, sections: Sequence[Section]) -> list[Window]:
    """The windows that make frames ``num_known`` to ``num_frames``.

    Args:
        room: frames of the longest window.
        keep: frames that a window takes over from the one before, fewer than ``room``.
    """
    windows, start = [], num_known
    while start < num_frames:
        first = 0 if start < room else start - keep
        current = max(index for index, section in enumerate(sections) if section.start <= start)
        changes = [section.start for section in sections[current + 1 :]]
        end = min([num_frames, first + room, *changes])
        windows.append(Window(first, start, end, current))
        start = end
    return windows
