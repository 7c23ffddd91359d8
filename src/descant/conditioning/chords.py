"""Chords as a condition: "C:0 G:2 Am:4 F:6" is C major from the start, G major from second 2, and so on.

Each chord is embedded for every step that it covers, as the root, the pitch classes and the bass note, added to the
embedded steps. For new models; the released ones take no chords.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.conditioning.base import Conditioner, Conditions, Embedding, FrameSpan, Fusion
from descant.errors import InvalidRequest

QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "5": (0, 7),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "mmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "add9": (0, 2, 4, 7),
    "9": (0, 2, 4, 7, 10),
    "maj9": (0, 2, 4, 7, 11),
    "m9": (0, 2, 3, 7, 10),
}
"""The semitones above the root of every chord quality, by the suffix of its symbol."""

SPELLINGS = {
    "maj": "",
    "M": "",
    "min": "m",
    "-": "m",
    "M7": "maj7",
    "min7": "m7",
    "-7": "m7",
    "sus": "sus4",
    "+": "aug",
}
"""Other suffixes for the same qualities."""

MAX_CHORDS = 40_000
"""Two for each beat of an hour at 300 beats per minute, more than are ever chosen."""
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHIFTS = {"": 0, "#": 1, "b": -1}
_PRINTED = str.maketrans("♯♭", "#b")
"""The accidentals of printed music, and how symbols have them."""
_SYMBOL = re.compile(r"([A-G])(#|b|)([^/]*)(?:/([A-G])(#|b|))?")


@dataclass(frozen=True)
class Chord:
    """A chord from a moment on, until the next one begins.

    Args:
        root, bass: semitones above C; None for no chord.
        pitches: the pitch classes that sound, the bass note among them.
    """

    start_s: float
    symbol: str
    root: int | None = None
    pitches: frozenset[int] = frozenset()
    bass: int | None = None


ChordTrack: TypeAlias = tuple[Chord, ...]
"""Chords in the order of their times, which are negative in the lead-in of a loop. Before the first one there is no
chord."""


def parse_chords(text: str) -> ChordTrack:
    """The chords of a text such as ``"C:0 G/B:2 Am7:4 N:6"``: symbols with the second at which they begin; N is none.

    ``F♯`` and ``B♭`` are read as ``F#`` and ``Bb``.

    Raises:
        InvalidRequest: a symbol or a time cannot be read, or times do not rise.
    """
    if not isinstance(text, str):
        raise InvalidRequest(f"chords={text!r:.60}: expected a text such as 'C:0 G:2 Am:4 F:6'")
    words = text.replace(",", " ").split()
    if not words:
        raise InvalidRequest("chords='': give at least one, such as 'C:0', or leave chords out")
    if len(words) > MAX_CHORDS:
        raise InvalidRequest(f"chords: {len(words)} of them; at most {MAX_CHORDS} are allowed")
    track = tuple(_chord(word) for word in words)
    for before, after in pairwise(track):
        if not before.start_s < after.start_s:
            raise InvalidRequest(
                f"chords: {after.symbol} at second {after.start_s:g} follows {before.symbol} at {before.start_s:g}; "
                "each must begin after the one before"
            )
    return track


def chords_text(track: ChordTrack) -> str:
    """The text of chords without a lead-in, which ``parse_chords`` reads back."""
    return " ".join(f"{chord.symbol}:{chord.start_s!r}" for chord in track if chord.start_s >= 0)


def crop_chords(track: ChordTrack, first_s: float) -> ChordTrack:
    """The chords as they sound from ``first_s`` on, with times from there."""
    shifted = [replace(chord, start_s=chord.start_s - first_s) for chord in track]
    earlier = [chord for chord in shifted if chord.start_s <= 0]
    return (*[replace(chord, start_s=0.0) for chord in earlier[-1:]], *shifted[len(earlier) :])


def chords_until(track: ChordTrack, end_s: float) -> ChordTrack:
    """The chords that begin by ``end_s``."""
    return tuple(chord for chord in track if chord.start_s <= end_s)


def with_lead_in(track: ChordTrack, loop_s: float, lead_in_s: float) -> ChordTrack:
    """The chords of a loop, with those of its last ``lead_in_s`` seconds before second 0: a loop comes from its end."""
    end = [chord for chord in crop_chords(track, loop_s - lead_in_s) if chord.start_s < lead_in_s]
    return (*[replace(chord, start_s=chord.start_s - lead_in_s) for chord in end], *track)


def _chord(word: str) -> Chord:
    symbol, colon, time = word.rpartition(":")
    try:
        start_s = float(time)
    except ValueError:
        start_s = math.nan
    if not colon or not 0 <= start_s < math.inf:
        raise InvalidRequest(f"chords: {word!r:.40}; expected a symbol, a colon and its second, such as Am:4 or N:6.5")
    symbol = symbol.translate(_PRINTED)
    if symbol == "N":
        return Chord(start_s, symbol)
    found = _SYMBOL.fullmatch(symbol)
    suffix = None if found is None else SPELLINGS.get(found[3], found[3])
    if found is None or suffix not in QUALITIES:
        qualities = ", ".join(name for name in QUALITIES if name)
        raise InvalidRequest(
            f"chords: {symbol!r:.40} is not a chord; expected a root from C to B with # or b, nothing or one of "
            f"{qualities}, and perhaps a bass note, such as F#m7/A, or N for no chord"
        )
    root = (_SEMITONES[found[1]] + _SHIFTS[found[2]]) % 12
    bass = root if found[4] is None else (_SEMITONES[found[4]] + _SHIFTS[found[5]]) % 12
    pitches = frozenset((root + interval) % 12 for interval in QUALITIES[suffix]) | {bass}
    return Chord(start_s, symbol, root, pitches, bass)


@dataclass(frozen=True, kw_only=True)
class ChordsConfig:
    """Chords have no settings yet; a model that has this config takes them."""


class ChordsConditioner(Conditioner[Sequence[ChordTrack | None]]):
    """Chords as one vector per step, added to the embedded steps; zeros for rows without chords.

    The condition of a row is what ``parse_chords`` gives, or a text for it. The last chord lasts until the end.
    """

    name = condition = "chords"
    NUM_FEATURES = 37
    """Root, pitch classes and bass, twelve each, and whether anything is stated: N differs from an unknown chord."""

    def __init__(self, config: ChordsConfig, lm_width: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(self.NUM_FEATURES, lm_width, bias=False)
        # Zero at first: a model that was trained without chords continues from where it is.
        nn.init.zeros_(self.project.weight)

    def prepare(self, rows: Sequence[Conditions]) -> Sequence[ChordTrack | None]:
        """The chords of each row."""
        given = [row.get("chords") for row in rows]
        return [parse_chords(chords) if isinstance(chords, str) else chords for chords in given]

    def forward(
        self, prepared: Sequence[ChordTrack | None], span: FrameSpan, drop: Bool[Tensor, " B"] | None = None
    ) -> dict[Fusion, Embedding]:
        """One vector per row and step, of the chord in the middle of the frame that the step predicts."""
        times_s = span.first_s + (span.input_frames.double().cpu() + 0.5) / span.frame_rate_hz
        values = torch.stack([self._at_times(track or (), times_s) for track in prepared])
        has_chords = torch.tensor([track is not None for track in prepared], device=values.device)
        return {"sum": Embedding.masked(values, has_chords[:, None].expand(values.shape[:2]), drop)}

    def _at_times(self, track: ChordTrack, times_s: Float[Tensor, " S"]) -> Float[Tensor, "S D"]:
        """The vectors of the chords at these times. Each chord is projected once, so that it has the same bits in every
        window."""
        weight = self.project.weight
        features = torch.stack([_features_of(chord) for chord in (Chord(0.0, "N"), *track)])
        starts = torch.tensor([chord.start_s for chord in track], dtype=torch.float64)
        index = torch.searchsorted(starts, times_s, right=True)
        return self.project(features.to(weight.device, weight.dtype))[index.to(weight.device)]


def _features_of(chord: Chord) -> Float[Tensor, " features"]:
    features = torch.zeros(ChordsConditioner.NUM_FEATURES)
    features[36] = 1.0
    if chord.root is not None and chord.bass is not None:
        features[[chord.root, 24 + chord.bass, *(12 + pitch for pitch in chord.pitches)]] = 1.0
    return features
