"""Scores: the notes of a piece in integer ticks on a grid of beats, before rendering.

A beat always has ``TICKS_PER_BEAT`` ticks, in any metre: in 6/8 the beat is the dotted quarter. All arithmetic is in
integers, so that repetitions of a loop fall on exactly the same samples (``sample_of``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

Font = Literal["fluid", "musescore"]
"""FluidR3, or MuseScore General."""

TICKS_PER_BEAT = 960
SAMPLE_RATE_HZ = 32_000
FRAME_SAMPLES = 640


@dataclass(frozen=True, order=True)
class Note:
    """One note; onset and length in ticks, pitch as a MIDI key (for drums: the percussion key), velocity 1 to 127."""

    onset: int
    length: int
    pitch: int
    velocity: int


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What plays a part: the preset of a soundfont, and the amplifier that it is played through, if any."""

    font: Font = "fluid"
    bank: int = 0
    preset: int
    amplifier: str | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """The notes of one instrument: a General MIDI program, and the role it plays in the arrangement.

    Roles are ``lead``, ``chords``, ``arpeggio``, ``pad``, ``bass`` and ``drums``; they decide the balance of the mix.
    Without a ``sound`` it is played by FluidR3's preset for its program, drums by its standard kit.
    """

    program: int
    role: str
    notes: tuple[Note, ...]
    is_drums: bool = False
    sound: Sound | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Parts over a grid: ``samples_per_beat`` is the tempo, ``num_bars`` times ``beats_per_bar`` the length.

    ``loop_bars`` is the number of bars after which the notes repeat; None if they do not. For ``tail_beats`` after the
    last bar the last notes ring on.
    """

    parts: tuple[Part, ...]
    samples_per_beat: int
    beats_per_bar: int
    num_bars: int
    loop_bars: int | None = None
    tail_beats: int = 0

    @property
    def num_ticks(self) -> int:
        return self.num_bars * self.beats_per_bar * TICKS_PER_BEAT

    @property
    def num_samples(self) -> int:
        return sample_of(self.num_ticks + self.tail_beats * TICKS_PER_BEAT, self.samples_per_beat)


def sample_of(tick: int, samples_per_beat: int) -> int:
    """The sample at which a tick falls; whole beats fall on whole multiples of ``samples_per_beat``."""
    return tick * samples_per_beat // TICKS_PER_BEAT


def locked_samples_per_beat(frames_per_beat: int) -> int:
    """Samples of a beat that lasts a whole number of 20 ms frames: 3000 / frames_per_beat beats per minute."""
    return frames_per_beat * FRAME_SAMPLES


def free_samples_per_beat(bpm: float) -> int:
    """Samples of a beat at any tempo, independent of the frames."""
    return round(60 * SAMPLE_RATE_HZ / bpm)


def bpm_of(samples_per_beat: int) -> float:
    """Beats per minute of a beat of this many samples."""
    return 60 * SAMPLE_RATE_HZ / samples_per_beat


def rescale(notes: Iterable[Note], ratio: Fraction) -> tuple[Note, ...]:
    """The notes with onsets and lengths times ``ratio``, rounded to ticks (from a source's grid to ours)."""
    return tuple(
        replace(note, onset=round(note.onset * ratio), length=max(1, round(note.length * ratio))) for note in notes
    )


def shift(notes: Iterable[Note], ticks: int) -> tuple[Note, ...]:
    """The notes, ``ticks`` later."""
    return tuple(replace(note, onset=note.onset + ticks) for note in notes)


def transpose(notes: Iterable[Note], semitones: int) -> tuple[Note, ...]:
    """The notes, ``semitones`` higher."""
    return tuple(replace(note, pitch=note.pitch + semitones) for note in notes)


def tile(notes: Iterable[Note], loop_ticks: int, num_ticks: int) -> tuple[Note, ...]:
    """The loop ``[0, loop_ticks)`` repeated until ``num_ticks``; the last repetition may be incomplete."""
    loop = [note for note in notes if 0 <= note.onset < loop_ticks]
    repetitions = -(-num_ticks // loop_ticks)
    tiled = (note for index in range(repetitions) for note in shift(loop, index * loop_ticks))
    return tuple(note for note in tiled if note.onset < num_ticks)


def release_before_repeat(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes in time order, each ending at the latest where the next one of its pitch begins.

    A synthesiser has one voice per key: otherwise the end of a long note would cut off the next note of that pitch, and
    the first repetition of a loop would differ from the others.
    """
    later_onset: dict[int, int] = {}
    ended = []
    for note in sorted(notes, reverse=True):
        limit = later_onset.get(note.pitch)
        if limit is not None and limit <= note.onset:
            continue
        length = note.length if limit is None else min(note.length, limit - note.onset)
        ended.append(replace(note, length=length))
        later_onset[note.pitch] = note.onset
    return tuple(reversed(ended))


def into_range(notes: tuple[Note, ...], low: int, high: int) -> tuple[Note, ...]:
    """The notes moved by octaves so that their median is near the middle of the range; outliers are folded into it."""
    if not notes:
        return notes
    middle = sorted(note.pitch for note in notes)[len(notes) // 2]
    octaves = round(((low + high) / 2 - middle) / 12)
    return tuple(replace(note, pitch=_fold(note.pitch + 12 * octaves, low, high)) for note in notes)


def _fold(pitch: int, low: int, high: int) -> int:
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch
