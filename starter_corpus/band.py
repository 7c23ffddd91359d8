"""Band pieces: an MMA groove over a chord progression, with fewer or other instruments, sometimes with a melody."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from descant.errors import DataError
from starter_corpus import mma
from starter_corpus.arrangement import (
    Arrangement,
    Tempo,
    draw_num_bars,
    draw_tempo,
    moods_of,
    within_range,
)
from starter_corpus.chords import key_name, scale_of
from starter_corpus.instruments import PROGRAMS, instrument_of, program_of
from starter_corpus.melody import melody
from starter_corpus.midi import Track
from starter_corpus.progressions import Progression, progressions
from starter_corpus.score import TICKS_PER_BEAT, Note, Part, Score, tile
from starter_corpus.styles import STYLES, Style
from starter_corpus.textures import TEXTURES, Bars, Metre, spans_of

_GENRE_WEIGHTS = {"jazz": 10.0, "rock": 10.0, "latin": 9.0, "pop": 7.0, "electronic": 12.0, "ballad": 6.0}
_OTHER_GENRES = {"hip hop": 5.0, "funk": 5.0, "blues": 5.0, "reggae": 5.0, "tango": 3.0, "waltz": 4.0, "march": 3.5}
_LOOP_SHARE = 0.6

# Accompaniment of the drum patterns, by genre: bass textures and programs, chord textures and instruments.
_OVER_BEATS: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...], tuple[str, ...]]] = {
    "world": (
        ("syncopated", "roots"),
        (32, 33),
        ("strum", "arpeggio"),
        ("nylon guitar", "kalimba", "marimba", "sitar"),
    ),
    "ambient": (("roots",), (38, 89), ("block", "rising"), ("synth pad", "electric piano", "synth strings")),
    "ballad": (("two_feel", "roots"), (33, 32), ("arpeggio", "block"), ("piano", "acoustic guitar", "electric piano")),
    "pop": (("eighths", "two_feel"), (33, 34), ("pulse", "strum", "block"), ("piano", "acoustic guitar", "synth pad")),
    "blues": (("two_feel", "eighths"), (33, 32), ("backbeat", "pulse"), ("electric guitar", "organ", "piano")),
    "latin": (("two_feel", "syncopated"), (32,), ("stabs", "strum"), ("nylon guitar", "piano")),
    "country": (("two_feel",), (32, 33), ("strum", "backbeat"), ("acoustic guitar", "banjo")),
    "electronic": (
        ("octaves", "eighths"),
        (38, 39),
        ("offbeat", "stabs", "rising"),
        ("synth brass", "synth lead", "synth pad", "electric piano", "piano"),
    ),
    "funk": (("syncopated",), (36, 33), ("stabs", "offbeat"), ("clavinet", "electric guitar", "electric piano")),
    "jazz": (("two_feel",), (32,), ("stabs", "backbeat"), ("piano", "jazz guitar", "vibraphone", "electric piano")),
    "hip hop": (
        ("syncopated", "roots"),
        (38, 33, 36),
        ("block", "stabs", "arpeggio"),
        ("electric piano", "piano", "synth strings", "jazz guitar"),
    ),
    "rock": (
        ("eighths",),
        (34, 33),
        ("pulse", "strum"),
        ("overdriven guitar", "electric guitar", "organ", "distorted guitar"),
    ),
    "metal": (("eighths",), (34,), ("pulse",), ("distorted guitar",)),
    "reggae": (("syncopated",), (33,), ("offbeat",), ("organ", "electric guitar", "piano")),
    "r&b": (("syncopated", "roots"), (33, 38), ("block", "stabs"), ("electric piano", "synth pad")),
}

_MAY_SUBSTITUTE = {
    *("jazz", "latin", "ballad", "pop", "lullaby", "classical", "folk", "r&b", "ballroom", "waltz", "gospel"),
}
_SUBSTITUTES = {
    "piano": ("electric piano", "vibraphone", "organ", "nylon guitar"),
    "jazz guitar": ("nylon guitar", "nylon guitar", "acoustic guitar", "piano"),
    "acoustic guitar": ("nylon guitar", "piano"),
    "electric piano": ("piano", "vibraphone"),
    "strings": ("choir", "synth strings"),
    "organ": ("accordion", "electric piano"),
}


@dataclass(frozen=True, kw_only=True)
class BandPlan:
    """Groove, chords, key, tempo and length of a band piece; ``detail_seed`` determines the rest."""

    style: Style
    groove: mma.Groove
    progression: Progression
    tonic: int
    tempo: Tempo
    num_bars: int
    is_loop: bool
    detail_seed: int

    @property
    def source(self) -> str:
        return "mma:" + self.style.file

    @property
    def split(self) -> str:
        return self.style.split

    @property
    def num_beats(self) -> int:
        return self.num_bars * self.groove.beats_per_bar


def plan_band(rng: random.Random) -> BandPlan:
    """A random plan: a style by genre, one of its grooves, a progression of its family, key, tempo and length."""
    by_genre: dict[str, list[Style]] = {}
    for style in STYLES:
        by_genre.setdefault(style.genre, []).append(style)
    weights = {
        genre: (_GENRE_WEIGHTS | _OTHER_GENRES).get(genre, 2.0 + 0.2 * len(by_genre[genre])) for genre in by_genre
    }
    genre = rng.choices(list(weights), list(weights.values()))[0]
    style = rng.choice(by_genre[genre])
    groove = rng.choice(mma.grooves_of(style.file))
    is_minor = rng.random() < style.minor_share
    is_loop = rng.random() < _LOOP_SHARE
    choices = progressions(style.family, is_minor=is_minor, split=style.split, max_bars=4 if is_loop else 16)
    longer = [progression for progression in choices if is_loop or len(progression.bars) > 4]
    pool = longer or choices or progressions(style.family, is_minor=is_minor, split=style.split)
    progression = rng.choice(pool)
    tempo = draw_tempo(rng, style.slowest_bpm, style.fastest_bpm)
    return BandPlan(
        style=style,
        groove=groove,
        progression=progression,
        tonic=rng.randrange(12),
        tempo=tempo,
        num_bars=draw_num_bars(rng, tempo, groove.beats_per_bar, min(len(progression.bars), 4)),
        is_loop=is_loop and len(progression.bars) <= 4,
        detail_seed=rng.getrandbits(32),
    )


def arrange_band(plan: BandPlan) -> Arrangement:
    """The arrangement of a plan; runs MMA.

    Raises:
        MissingExtra: if MMA is not installed.
        DataError: if MMA rejects the groove, or no part has a named instrument.
    """
    rng = random.Random(plan.detail_seed)
    metre = Metre(beats_per_bar=plan.groove.beats_per_bar, is_compound=plan.groove.metre == "6/8")
    bars = _bars(plan)
    parts = _parts(plan, bars, metre, rng)
    if plan.is_loop:
        loop_ticks = len(bars) * metre.bar_ticks
        num_ticks = plan.num_bars * metre.bar_ticks + loop_ticks
        parts = [replace(part, notes=tile(part.notes, loop_ticks, num_ticks)) for part in parts]
    genre, is_minor = plan.style.genre, plan.progression.is_minor
    has_drums = any(part.is_drums for part in parts)
    has_harmony = any(not part.is_drums for part in parts)
    mode = is_minor if has_harmony else None
    return Arrangement(
        score=Score(
            parts=tuple(_without_delay(parts)),
            samples_per_beat=plan.tempo.samples_per_beat,
            beats_per_bar=metre.beats_per_bar,
            num_bars=plan.num_bars,
            loop_bars=len(bars) if plan.is_loop else None,
        ),
        genre=genre,
        styles=plan.style.names,
        moods=moods_of(is_minor=mode, bpm=plan.tempo.bpm, genre=genre, has_drums=has_drums),
        tempo=plan.tempo,
        key=key_name(plan.tonic, is_minor) if has_harmony else None,
        metre=plan.groove.metre,
        source=plan.source,
        title=f"{plan.groove.name} over {plan.progression.name}",
    )


def _bars(plan: BandPlan) -> Bars:
    """The chords of one loop (two bars twice under a longer groove) or, without a loop, of the whole piece."""
    chords = plan.progression.in_key(plan.tonic)
    if plan.is_loop:
        return chords * (2 if len(chords) <= 2 and plan.groove.num_bars >= 4 else 1)
    return (chords * -(-plan.num_bars // len(chords)))[: plan.num_bars]


def _parts(plan: BandPlan, bars: Bars, metre: Metre, rng: random.Random) -> list[Part]:
    """Some of MMA's parts; drum patterns often get our own bass and chords, other grooves sometimes a melody."""
    tracks = mma.play(plan.groove, bars, rng.randrange(1, 2**31))
    parts = _thin_out(_parts_of(tracks, plan.style.genre), plan.style, rng)
    if plan.style.is_beat and rng.random() < 0.6:
        parts += _accompaniment(plan, bars, metre, rng)
    melodic = [part for part in parts if part.role not in ("drums", "bass")]
    if plan.style.leads and melodic and len(melodic) <= 3 and rng.random() < 0.4:
        parts.append(_lead(plan, bars, metre, rng))
    if not parts:
        raise DataError(f"groove {plan.groove.name} of {plan.style.file} leaves no part with a named instrument")
    return parts


def _parts_of(tracks: Sequence[Track], genre: str) -> list[Part]:
    parts = []
    for track in tracks:
        instrument = instrument_of(track.program, is_drums=track.is_drums)
        if instrument is None or not track.notes:
            continue
        role = _role_of(track)
        program = track.program
        if role == "bass" and instrument.family in ("guitar", "synth") and genre != "electronic":
            program = 32 if genre in ("jazz", "latin", "ballroom", "show", "country", "folk") else 33
        parts.append(Part(program=program, role=role, notes=track.notes, is_drums=track.is_drums))
    return parts


def _role_of(track: Track) -> str:
    if track.is_drums:
        return "drums"
    pitches = sorted(note.pitch for note in track.notes)
    instrument = PROGRAMS[track.program]
    is_bass_line = track.name.startswith(("Bass", "Walk")) and pitches[len(pitches) // 2] < 48
    if instrument.family == "bass" or is_bass_line:
        return "bass"
    if sum(note.length for note in track.notes) / len(track.notes) > 2 * TICKS_PER_BEAT:
        return "pad"
    return "arpeggio" if track.name.startswith(("Arpeggio", "Scale", "Solo", "Bass")) else "chords"


def _thin_out(parts: list[Part], style: Style, rng: random.Random) -> list[Part]:
    """Some of the parts: at most three instruments besides drums and bass, since simple textures are learned first."""
    drums = [part for part in parts if part.is_drums]
    bass = [part for part in parts if part.role == "bass"]
    others = [part for part in parts if part.role not in ("drums", "bass")]
    names = list(dict.fromkeys(part.program for part in others))
    rng.shuffle(names)
    names.sort(key=lambda program: all(part.role == "pad" for part in others if part.program == program))
    draw = rng.random()
    if drums and draw < (0.35 if style.is_beat else 0.05):
        return drums
    if names and draw > 0.93:
        return [part for part in others if part.program == names[0]]
    kept = set(rng.choices((names[:1], names[:2], names[:3]), (4, 4, 2))[0])
    chosen = [part for part in others if part.program in kept]
    if style.genre in _MAY_SUBSTITUTE and rng.random() < 0.3:
        chosen = _substituted(chosen, rng)
    if bass and (rng.random() < 0.85 or not chosen):
        chosen += bass
    if drums and (rng.random() < 0.85 or not chosen):
        chosen += drums
    return chosen


def _substituted(parts: Sequence[Part], rng: random.Random) -> list[Part]:
    """The parts, some instruments replaced by related ones."""
    replacements: dict[int, int] = {}
    for part in parts:
        names = _SUBSTITUTES.get(PROGRAMS[part.program].name)
        if names and part.program not in replacements:
            replacements[part.program] = program_of(rng.choice(names))
    return [within_range(replace(part, program=replacements.get(part.program, part.program))) for part in parts]


def _accompaniment(plan: BandPlan, bars: Bars, metre: Metre, rng: random.Random) -> list[Part]:
    """Our own bass and chords for a drum pattern."""
    bass_textures, bass_programs, chord_textures, chord_names = _OVER_BEATS[plan.style.genre]
    spans = spans_of(bars, metre)
    chords = TEXTURES[rng.choice(chord_textures)](spans, metre)
    bass = TEXTURES[rng.choice(bass_textures)](spans, metre)
    parts = [within_range(Part(program=program_of(rng.choice(chord_names)), role="chords", notes=chords))]
    if rng.random() < 0.85:
        parts.append(Part(program=rng.choice(bass_programs), role="bass", notes=bass))
    return parts


def _lead(plan: BandPlan, bars: Bars, metre: Metre, rng: random.Random) -> Part:
    program = program_of(rng.choice(plan.style.leads))
    instrument = PROGRAMS[program]
    low, high = max(instrument.low, 55), min(instrument.high, 86)
    if high - low < 12:
        low, high = instrument.low, instrument.high
    notes = melody(
        spans_of(bars, metre),
        metre,
        scale_of(plan.tonic, plan.progression.is_minor),
        low=low,
        high=high,
        mood="calm" if plan.tempo.bpm < 85 or plan.tempo.bpm > 150 else rng.choice(("calm", "moving")),
        rng=rng,
    )
    return Part(program=program, role="lead", notes=notes)


def _without_delay(parts: Sequence[Part]) -> list[Part]:
    """The parts shifted to begin at once, where a groove's first note comes beats later."""
    first = min(note.onset for part in parts for note in part.notes)
    late = first // TICKS_PER_BEAT * TICKS_PER_BEAT

    def earlier(note: Note) -> Note:
        return replace(note, onset=note.onset - late)

    return [replace(part, notes=tuple(earlier(note) for note in part.notes)) for part in parts]
