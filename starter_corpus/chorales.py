"""Bach's four-part chorales from music21's corpus, for choir, organ, strings, brass, piano and others."""

import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.errors import DataError
from starter_corpus.arrangement import Arrangement, Tempo, draw_num_bars, draw_tempo, moods_of
from starter_corpus.chords import key_name
from starter_corpus.instruments import program_of
from starter_corpus.music21_corpus import corpus_folder
from starter_corpus.score import TICKS_PER_BEAT, Note, Part, Score, shift, tile
from starter_corpus.split import split_of

_ENSEMBLES = (
    ("choir", ("choir",) * 4),
    ("choir", ("choir",) * 4),
    ("church organ", ("church organ",) * 4),
    ("church organ", ("church organ",) * 4),
    ("strings", ("strings",) * 4),
    ("string quartet", ("violin", "violin", "viola", "cello")),
    ("piano", ("piano",) * 4),
    ("brass", ("trumpet", "trumpet", "french horn", "trombone")),
    ("woodwinds", ("flute", "oboe", "clarinet", "bassoon")),
    ("reed organ", ("reed organ",) * 4),
    ("harpsichord", ("harpsichord",) * 4),
    ("choir and organ", ("choir", "choir", "church organ", "church organ")),
)


@functools.cache
def chorales() -> tuple[str, ...]:
    """The names of the chorales in the corpus, such as ``bwv269``.

    Raises:
        MissingExtra: if music21 is not installed.
    """
    names = {path.name.removesuffix(path.suffix) for path in _folder().glob("bwv*.mxl")}
    return tuple(sorted(names))


def _folder() -> Path:
    return corpus_folder() / "bach"


@dataclass(frozen=True, kw_only=True)
class ChoralePlan:
    """Chorale, transposition (``semitones``), tempo, length and instruments of a piece."""

    name: str
    semitones: int
    tempo: Tempo
    num_bars: int
    ensemble: tuple[str, ...]
    ensemble_name: str

    @property
    def source(self) -> str:
        return f"bach:{self.name}"

    @property
    def split(self) -> str:
        return split_of(self.source)

    @property
    def num_beats(self) -> int:
        return self.num_bars * 4


def plan_chorale(rng: random.Random) -> ChoralePlan:
    """A random plan: chorale, key, tempo and ensemble."""
    name = rng.choice(chorales())
    tempo = draw_tempo(rng, 58.0, 92.0)
    ensemble_name, ensemble = rng.choice(_ENSEMBLES)
    return ChoralePlan(
        name=name,
        semitones=rng.randint(-5, 6),
        tempo=tempo,
        num_bars=draw_num_bars(rng, tempo, 4, 2),
        ensemble=ensemble,
        ensemble_name=ensemble_name,
    )


def arrange_chorale(plan: ChoralePlan) -> Arrangement:
    """The arrangement of a plan, from the beginning of the chorale.

    Raises:
        MissingExtra: if music21 is not installed.
        DataError: if the chorale is not in four parts and common time.
    """
    voices, tonic, is_minor = _read(plan.name)
    num_ticks = plan.num_bars * 4 * TICKS_PER_BEAT
    chorale_ticks = -(-max(n.onset + n.length for voice in voices for n in voice) // TICKS_PER_BEAT) * TICKS_PER_BEAT
    parts = []
    for voice, instrument in zip(voices, plan.ensemble, strict=True):
        moved = [Note(n.onset, n.length * 97 // 100, n.pitch + plan.semitones, n.velocity) for n in voice]
        notes = tile(moved, chorale_ticks + 2 * TICKS_PER_BEAT, num_ticks)
        parts.append(Part(program=program_of(instrument), role="chords", notes=notes))
    return Arrangement(
        score=Score(
            parts=tuple(parts),
            samples_per_beat=plan.tempo.samples_per_beat,
            beats_per_bar=4,
            num_bars=plan.num_bars,
        ),
        genre="sacred",
        styles=("chorale", "baroque chorale", "Bach chorale", "hymn", "four-part chorale"),
        moods=moods_of(is_minor=is_minor, bpm=plan.tempo.bpm, genre="sacred", has_drums=False),
        tempo=plan.tempo,
        key=None if tonic is None else key_name((tonic + plan.semitones) % 12, bool(is_minor)),
        metre="4/4",
        source=plan.source,
        title=f"Chorale {plan.name.upper()}",
    )


@functools.cache
def _read(name: str) -> tuple[tuple[tuple[Note, ...], ...], int | None, bool | None]:
    """Four voices, and the tonic and mode if music21's key analysis agrees with the last bass note."""
    from music21 import converter, meter, stream

    chorale = converter.parse(_folder() / f"{name}.mxl", forceSource=True)
    if not isinstance(chorale, stream.Score):
        raise DataError(f"{name} is a {type(chorale).__name__}, not a score")
    signatures = {signature.ratioString for signature in chorale.recurse().getElementsByClass(meter.TimeSignature)}
    if len(chorale.parts) != 4 or signatures != {"4/4"}:
        raise DataError(f"{name} has {len(chorale.parts)} parts in {sorted(signatures)}, not four in 4/4")
    voices = [_voice(part) for part in chorale.parts]
    if not all(voices):
        raise DataError(f"{name} has an empty voice")
    first = min(voice[0].onset for voice in voices)
    key = chorale.analyze("key")
    agrees = voices[-1][-1].pitch % 12 == key.tonic.pitchClass
    moved = tuple(shift(voice, -first) for voice in voices)
    return moved, key.tonic.pitchClass if agrees else None, key.mode == "minor" if agrees else None


def _voice(part: Any) -> tuple[Note, ...]:
    """The notes of a music21 part without grace notes."""
    notes = [
        Note(
            round(float(item.offset) * TICKS_PER_BEAT),
            round(float(item.duration.quarterLength) * TICKS_PER_BEAT),
            int(item.pitches[-1].midi),
            80,
        )
        for item in part.stripTies().flatten().notes
    ]
    return tuple(note for note in notes if note.length > 1)
