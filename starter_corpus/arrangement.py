"""The common input of the renderer for every kind of piece: a score with its metadata."""

import random
from dataclasses import dataclass, field, replace

from starter_corpus.instruments import instrument_of
from starter_corpus.labels import Labels
from starter_corpus.score import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    Part,
    Score,
    bpm_of,
    free_samples_per_beat,
    into_range,
    locked_samples_per_beat,
)

SHORTEST_S, LONGEST_S = 22.0, 46.0
_LOCKED_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """The duration of a beat in samples; ``is_locked`` if that is a whole number of 20 ms frames."""

    samples_per_beat: int
    is_locked: bool

    @property
    def bpm(self) -> float:
        return bpm_of(self.samples_per_beat)


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """A score with its metadata. ``styles`` are names for it; ``key`` is None if the music has no clear key."""

    score: Score
    genre: str
    styles: tuple[str, ...]
    moods: tuple[str, ...]
    tempo: Tempo
    key: str | None
    metre: str
    source: str
    title: str
    labels: Labels = field(default_factory=Labels)


def draw_tempo(rng: random.Random, slowest_bpm: float, fastest_bpm: float) -> Tempo:
    """A random tempo in the range; 90 % have a beat of a whole number of frames (3000 / n bpm)."""
    bpm = rng.uniform(slowest_bpm, fastest_bpm)
    frames = round(60 * SAMPLE_RATE_HZ / FRAME_SAMPLES / bpm)
    if rng.random() < _LOCKED_SHARE:
        return Tempo(samples_per_beat=locked_samples_per_beat(frames), is_locked=True)
    return Tempo(samples_per_beat=free_samples_per_beat(float(round(bpm))), is_locked=False)


def draw_num_bars(rng: random.Random, tempo: Tempo, beats_per_bar: int, preferred_multiple: int) -> int:
    """A random number of bars lasting 22 to 46 seconds; a multiple of ``preferred_multiple`` if one fits."""
    bar_s = tempo.samples_per_beat * beats_per_bar / SAMPLE_RATE_HZ
    fitting = [bars for bars in range(1, 200) if SHORTEST_S <= bars * bar_s <= LONGEST_S]
    whole = [bars for bars in fitting if bars % preferred_multiple == 0]
    return rng.choice(whole or fitting)


def within_range(part: Part) -> Part:
    """The part moved by octaves into the natural range of its instrument."""
    instrument = instrument_of(part.program, is_drums=part.is_drums)
    if part.is_drums or instrument is None:
        return part
    return replace(part, notes=into_range(part.notes, instrument.low, instrument.high))


def moods_of(*, is_minor: bool | None, bpm: float, genre: str, has_drums: bool) -> tuple[str, ...]:
    """Mood words that follow from mode, tempo and genre, the best first; they claim nothing else."""
    is_slow, is_fast = bpm < 82, bpm > 132
    words: list[str] = []
    if genre in _OWN_MOODS:
        words += [*_GENRE_MOODS[genre], *(["dark", "moody"] if is_minor else [])]
    elif is_minor and is_slow:
        words += ["sad", "melancholic", "wistful"]
    elif is_minor and is_fast:
        words += ["intense", "driving", "dark"] if has_drums and genre in _DRIVEN else ["restless", "minor-key"]
    elif is_minor:
        words += ["moody", "wistful"] if genre in ("folk", "waltz", "classical", "ballad") else ["moody", "brooding"]
    elif is_minor is not None and is_slow:
        words += ["peaceful", "tender", "warm"]
    elif is_minor is not None and is_fast:
        words += ["cheerful", "happy", "lively"]
    elif is_minor is not None:
        words += ["bright", "pleasant", "upbeat" if bpm > 105 else "easy-going"]
    if is_slow and not has_drums:
        words += ["calm", "gentle"]
    elif is_slow:
        words += ["relaxed"]
    elif is_fast and has_drums:
        words += ["energetic"]
    words += _GENRE_MOODS.get(genre, [])
    return tuple(dict.fromkeys(words))


_OWN_MOODS = {"blues", "metal", "hip hop", "funk", "electronic", "ambient", "reggae", "tango"}
_DRIVEN = {"rock", "pop", "disco", "latin"}
_GENRE_MOODS = {
    "funk": ["groovy"],
    "disco": ["danceable", "groovy"],
    "electronic": ["danceable", "pulsing"],
    "ambient": ["atmospheric", "spacious"],
    "metal": ["aggressive", "heavy"],
    "hip hop": ["laid-back", "groovy"],
    "reggae": ["sunny", "laid-back"],
    "lullaby": ["soothing", "sleepy"],
    "march": ["proud", "festive"],
    "polka": ["jolly", "festive"],
    "latin": ["danceable"],
    "tango": ["passionate", "dramatic"],
    "waltz": ["elegant", "graceful"],
    "ballad": ["romantic"],
    "gospel": ["soulful"],
    "soul": ["soulful"],
    "blues": ["bluesy", "soulful"],
    "ragtime": ["playful"],
    "sacred": ["solemn", "reverent"],
}
