"""Music longer than a model was trained for: windows that slide over it, and prompts that follow each other.

Each window begins with the end of what is there already. A new prompt begins a window of its own, so that its first
frame is the first one that is drawn under it (the sliding is that of audiocraft's MusicGen.generate).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from descant.conditioning.facts import read_facts
from descant.generation.request import Request

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
    """A prompt, and the frame from which it counts."""

    start: int
    text: str | None


def sections_of(request: Request, frame_rate_hz: float) -> list[Section]:
    """The prompts of a request in their order, the first from frame 0 on."""
    # Rounded first: a second such as 0.14 is a whole number of frames, though its product with the rate is none.
    later = [Section(-int(-round(second * frame_rate_hz, 6) // 1), text) for second, text in request.timeline]
    return [Section(0, request.text), *later]


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


def beats_before(sections: Sequence[Section], current: int, frame: int, frame_rate_hz: float) -> float:
    """How many beats lie before a frame, by the tempo of the section that is current.

    Where the section before states a tempo too, the beat goes on; else a section begins with one.
    """
    beats = 0.0
    for index in range(current):
        bpm = read_facts(sections[index].text).bpm
        length = sections[index + 1].start - sections[index].start
        beats = 0.0 if bpm is None else beats + length / frame_rate_hz * bpm / 60
    bpm = read_facts(sections[current].text).bpm or 0.0
    return beats + (frame - sections[current].start) / frame_rate_hz * bpm / 60
