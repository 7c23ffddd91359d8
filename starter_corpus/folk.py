"""Folk pieces: a tune from a collection for one instrument, half of the time with an accompaniment."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from descant.errors import DataError
from starter_corpus.arrangement import Arrangement, Tempo, draw_num_bars, draw_tempo, moods_of
from starter_corpus.chords import Chord, key_name
from starter_corpus.harmonize import harmonize
from starter_corpus.instruments import PROGRAMS, program_of
from starter_corpus.labels import Labels, chord_labels
from starter_corpus.score import Part, Score, into_range, shift, tile, transpose
from starter_corpus.spans import Metre, spans_of
from starter_corpus.textures import TEXTURES
from starter_corpus.tunes import Tune, notes_of, tunes, upbeat_ticks

_SOLOISTS = (
    *("violin", "violin", "flute", "flute", "whistle", "accordion", "piano", "nylon guitar", "acoustic guitar", "harp"),
    *("clarinet", "recorder", "oboe", "banjo", "music box", "harpsichord", "church organ", "dulcimer", "cello"),
    *("pan flute", "marimba", "vibraphone", "celesta", "trumpet", "bagpipes", "kalimba", "electric piano"),
    *("harmonica", "alto saxophone", "ocarina", "bassoon", "choir", "glockenspiel", "koto"),
)
_QUICK_SOLOISTS = tuple(name for name in _SOLOISTS if name not in ("choir", "cello", "church organ", "bassoon"))
_BASSIST = ("two_feel", "upright bass")
_ACCOMPANISTS = (
    ("strum", "acoustic guitar"),
    ("strum", "nylon guitar"),
    ("oompah", "piano"),
    ("oompah", "accordion"),
    ("arpeggio", "harp"),
    ("arpeggio", "nylon guitar"),
    ("alberti", "piano"),
    ("block", "strings"),
    ("block", "reed organ"),
    _BASSIST,
)
_SPEEDS = {
    "jig": (92.0, 124.0),
    "slip jig": (96.0, 124.0),
    "reel": (88.0, 116.0),
    "hornpipe": (70.0, 96.0),
    "waltz": (96.0, 150.0),
    "march": (88.0, 116.0),
    "strathspey": (60.0, 80.0),
    "polka": (110.0, 136.0),
    "minuet": (92.0, 126.0),
}


@dataclass(frozen=True, kw_only=True)
class FolkPlan:
    """Tune, key (``tonic``), tempo, length and instruments of a folk piece."""

    tune: Tune
    tonic: int
    tempo: Tempo
    num_bars: int
    soloist: str
    accompaniment: tuple[tuple[str, str], ...]
    is_slow: bool

    @property
    def source(self) -> str:
        return self.tune.source

    @property
    def split(self) -> str:
        return self.tune.split

    @property
    def num_beats(self) -> int:
        return self.num_bars * self.tune.metre.beats_per_bar


def plan_folk(rng: random.Random) -> FolkPlan:
    """A random plan: tune, key, tempo, soloist and, half of the time, an accompaniment."""
    tune = rng.choice(tunes())
    is_slow = rng.random() < (0.2 if tune.dance else 0.5)
    is_busy = tune.metre_name in ("2/2", "6/8", "9/8")
    usual = _SPEEDS.get(tune.dance or "", (84.0, 120.0) if is_busy else (92.0, 132.0))
    slowest, fastest = (52.0, 76.0) if is_slow else usual
    tempo = draw_tempo(rng, slowest, fastest)
    draw = rng.random()
    accompaniment = [] if draw < 0.45 else [rng.choice(_ACCOMPANISTS)]
    if draw > 0.88 and accompaniment[0] != _BASSIST:
        accompaniment.append(_BASSIST)
    return FolkPlan(
        tune=tune,
        tonic=rng.randrange(12),
        tempo=tempo,
        num_bars=draw_num_bars(rng, tempo, tune.metre.beats_per_bar, 4),
        soloist=rng.choice(_SOLOISTS if is_slow else _QUICK_SOLOISTS),
        accompaniment=tuple(accompaniment),
        is_slow=is_slow,
    )


def arrange_folk(plan: FolkPlan) -> Arrangement:
    """The arrangement of a plan: the tune from its first note, repeated until the piece is long enough.

    Raises:
        MissingExtra: if abc2midi is not installed.
        DataError: if the tune cannot be read or is too short.
    """
    tune = plan.tune
    metre = tune.metre
    notes = transpose(notes_of(tune), (plan.tonic - tune.tonic + 5) % 12 - 5)
    upbeat = upbeat_ticks(tune)
    tune_ticks = -(-max(note.onset + note.length for note in notes) // metre.bar_ticks) * metre.bar_ticks
    if tune_ticks < 4 * metre.bar_ticks or len(notes) < 12:
        raise DataError(f"tune {tune.source} has only {len(notes)} notes")
    num_ticks = plan.num_bars * metre.bar_ticks
    notes = tile(notes, tune_ticks, num_ticks)
    soloist = PROGRAMS[program_of(plan.soloist)]
    low, high = max(soloist.low, min(58, soloist.high - 24)), soloist.high
    solo = Part(program=program_of(plan.soloist), role="lead", notes=into_range(notes, low, high))
    chords = [] if upbeat is None else harmonize(notes, upbeat, metre, plan.tonic, tune.mode)
    parts = [solo, *_accompany(plan, chords, upbeat or 0)]
    return Arrangement(
        score=Score(
            parts=tuple(parts),
            samples_per_beat=plan.tempo.samples_per_beat,
            beats_per_bar=metre.beats_per_bar,
            num_bars=plan.num_bars,
        ),
        genre="folk",
        styles=_styles(plan),
        moods=_moods(plan),
        tempo=plan.tempo,
        key=key_name(plan.tonic, tune.mode == "minor") if tune.mode in ("major", "minor") else None,
        metre=tune.metre_name,
        source=tune.source,
        title=tune.title,
        labels=_labels(chords if plan.accompaniment else [], upbeat or 0, metre),
    )


def _accompany(plan: FolkPlan, chords: Sequence[Chord], upbeat: int) -> list[Part]:
    if not chords:
        return []
    metre = plan.tune.metre
    bars = [(chord,) for chord in chords]
    spans = spans_of(bars, metre, centre=57)
    num_ticks = plan.num_bars * metre.bar_ticks
    parts = []
    for texture, name in plan.accompaniment:
        played = shift(TEXTURES[texture](spans, metre), upbeat)
        kept = tuple(note for note in played if note.onset < num_ticks)
        role = "bass" if texture == "two_feel" else "pad" if texture == "block" else "chords"
        program = program_of(name)
        instrument = PROGRAMS[program]
        parts.append(Part(program=program, role=role, notes=into_range(kept, instrument.low, instrument.high)))
    return parts


def _labels(chords: Sequence[Chord], upbeat: int, metre: Metre) -> Labels:
    """The chords are labelled where an accompaniment plays them; there is none in the upbeat."""
    played: list[tuple[Chord | None, int]] = [*chord_labels([(chord,) for chord in chords], metre.bar_ticks, upbeat)]
    return Labels(chords=tuple([(None, 0), *played] if played and upbeat else played), upbeat_ticks=upbeat)


def _moods(plan: FolkPlan) -> tuple[str, ...]:
    is_minor = plan.tune.mode in ("minor", "dorian")
    moods = moods_of(is_minor=is_minor, bpm=plan.tempo.bpm, genre="folk", has_drums=False)
    return moods if plan.is_slow or plan.tune.dance is None else ("lively", "rustic", *moods[:2])


def _styles(plan: FolkPlan) -> tuple[str, ...]:
    """Style names: a dance at its usual tempo, a slow air at a slow one."""
    origin, dance = plan.tune.origin or "", plan.tune.dance
    if plan.is_slow or dance is None:
        kind = "slow air" if plan.is_slow else "folk tune"
        return tuple(f"{word} {kind}".strip() for word in (origin, "traditional"))
    names = (f"{origin} {dance}".strip(), f"folk {dance}", dance)
    is_celtic = origin == "Irish" and dance in ("jig", "reel", "hornpipe")
    return (*names, f"Celtic {dance}") if is_celtic else names
