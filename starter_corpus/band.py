"""Band pieces: an MMA groove over a chord progression, with fewer or other instruments, sometimes with a melody."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from descant.errors import DataError
from starter_corpus import mma
from starter_corpus.arrangement import Arrangement, Tempo, draw_num_bars, draw_tempo, moods_of, within_range
from starter_corpus.backing import DISTORTED, draw_backing, parts_of, thin_out
from starter_corpus.chords import Chord, key_name, scale_of
from starter_corpus.form import Form, draw_form, phrase_chords
from starter_corpus.instruments import PROGRAMS, programs_of
from starter_corpus.labels import Labels, chord_labels
from starter_corpus.melody import melody
from starter_corpus.production import Phrase, PhrasedPart, Setting, labels_of, power_chords, produce, tail_beats
from starter_corpus.progressions import Progression, progressions
from starter_corpus.score import SAMPLE_RATE_HZ, TICKS_PER_BEAT, Note, Part, Score, shift, tile
from starter_corpus.spans import Bars, Metre, spans_of
from starter_corpus.styles import STYLES, Style
from starter_corpus.textures import TEXTURES

_GENRE_WEIGHTS = {"jazz": 10.0, "rock": 10.0, "latin": 9.0, "pop": 7.0, "electronic": 12.0, "ballad": 6.0}
_OTHER_GENRES = {"hip hop": 5.0, "funk": 5.0, "blues": 5.0, "reggae": 5.0, "tango": 3.0, "waltz": 4.0, "march": 3.5}
_LOOP_SHARE = 0.3
_ENDING_SHARES = {"electronic": 0.2, "hip hop": 0.2, "ambient": 0.3}
_USUAL_ENDING_SHARE = 0.5
_EARLY_TICKS = 60
"""Notes that MMA plays at most so early belong to the phrase that they lead into."""


@dataclass(frozen=True, kw_only=True)
class BandPlan:
    """Groove, chords, key, tempo and form of a band piece; ``detail_seed`` determines the rest.

    Args:
        second: groove and progression of the phrases B.
        form: None is a loop of ``loop_bars``.
    """

    style: Style
    groove: mma.Groove
    progression: Progression
    second: tuple[mma.Groove, Progression]
    tonic: int
    tempo: Tempo
    form: Form | None
    loop_bars: int
    detail_seed: int

    @property
    def source(self) -> str:
        return "mma:" + self.style.file

    @property
    def split(self) -> str:
        return self.style.split

    @property
    def num_bars(self) -> int:
        return self.loop_bars if self.form is None else self.form.num_bars

    @property
    def is_loop(self) -> bool:
        return self.form is None

    @property
    def num_beats(self) -> int:
        return self.num_bars * self.groove.beats_per_bar + tail_beats(self.form, self.tempo)


def plan_band(rng: random.Random) -> BandPlan:
    """A random plan: a style by genre, one of its grooves, a progression of its family, key, tempo and form."""
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
    pool = choices or progressions(style.family, is_minor=is_minor, split=style.split)
    progression = rng.choice(pool)
    tempo = draw_tempo(rng, style.slowest_bpm, style.fastest_bpm)
    bar_s = groove.beats_per_bar * tempo.samples_per_beat / SAMPLE_RATE_HZ
    is_loop = is_loop and len(progression.bars) <= 4
    ending_share = _ENDING_SHARES.get(genre, _USUAL_ENDING_SHARE)
    form = None if is_loop else draw_form(rng, bar_s, len(progression.bars), style.family, ending_share)
    variants = [other for other in mma.grooves_of(style.file) if other.metre == groove.metre]
    return BandPlan(
        style=style,
        groove=groove,
        progression=progression,
        second=(rng.choice(variants), rng.choice(pool)),
        tonic=rng.randrange(12),
        tempo=tempo,
        form=form,
        loop_bars=draw_num_bars(rng, tempo, groove.beats_per_bar, min(len(progression.bars), 4)),
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
    score, labels = _arrange_loop(plan, metre, rng) if plan.form is None else _arrange_form(plan, plan.form, metre, rng)
    genre, is_minor = plan.style.genre, plan.progression.is_minor
    has_drums = any(part.is_drums for part in score.parts)
    has_harmony = any(not part.is_drums for part in score.parts)
    return Arrangement(
        score=score,
        genre=genre,
        styles=plan.style.names,
        moods=moods_of(
            is_minor=is_minor if has_harmony else None, bpm=plan.tempo.bpm, genre=genre, has_drums=has_drums
        ),
        tempo=plan.tempo,
        key=key_name(plan.tonic, is_minor) if has_harmony else None,
        metre=plan.groove.metre,
        source=plan.source,
        title=f"{plan.groove.name} over {plan.progression.name}",
        labels=labels if has_harmony else replace(labels, chords=()),
    )


def _arrange_form(plan: BandPlan, form: Form, metre: Metre, rng: random.Random) -> tuple[Score, Labels]:
    """Each phrase of the form is played once, with the chords and the groove of its letter."""
    progression_of = {"B": plan.second[1]}
    groove_of = {"B": plan.second[0]}
    phrases = list(dict.fromkeys(form.phrases))
    is_minor = plan.progression.is_minor
    chords: dict[Phrase, Bars] = {
        phrase: phrase_chords(
            progression_of.get(phrase[0], plan.progression).in_key(plan.tonic), form, phrase[1], plan.tonic, is_minor
        )
        for phrase in phrases
    }
    setting = Setting(
        form=form,
        chords=chords,
        tonic=plan.tonic,
        is_minor=is_minor,
        metre=metre,
        tempo=plan.tempo,
        genre=plan.style.genre,
    )
    bars = [bar for phrase in phrases for bar in chords[phrase]]
    grooves = [groove_of.get(phrase[0], plan.groove).name for phrase in phrases for _ in chords[phrase]]
    parts = _parts(plan, bars, grooves, metre, rng)
    phrased = [_split(part, phrases, setting.phrase_ticks) for part in parts]
    if any(note.onset < TICKS_PER_BEAT for part in phrased for note in part.played[phrases[0]]):
        return produce(phrased, setting, rng), labels_of(setting, has_chords=True)
    raise DataError(f"groove {plan.groove.name} of {plan.style.file} begins with a rest")


def _split(part: Part, phrases: Sequence[Phrase], phrase_ticks: int) -> PhrasedPart:
    """The notes of a part that plays phrase after phrase, by phrase."""
    played = {}
    for place, phrase in enumerate(phrases):
        start = place * phrase_ticks
        own = [note for note in part.notes if start <= note.onset + _EARLY_TICKS < start + phrase_ticks]
        played[phrase] = tuple(replace(note, onset=max(0, note.onset - start)) for note in own)
    return PhrasedPart(part=replace(part, notes=()), played=played)


def _arrange_loop(plan: BandPlan, metre: Metre, rng: random.Random) -> tuple[Score, Labels]:
    """One loop (two bars twice under a longer groove), repeated exactly."""
    chords = plan.progression.in_key(plan.tonic)
    bars = chords * (2 if len(chords) <= 2 and plan.groove.num_bars >= 4 else 1)
    loop_ticks = len(bars) * metre.bar_ticks
    num_ticks = plan.num_bars * metre.bar_ticks
    parts = _parts(plan, bars, [plan.groove.name] * len(bars), metre, rng)
    late = min(note.onset for part in parts for note in part.notes) // TICKS_PER_BEAT * TICKS_PER_BEAT
    tiled = [replace(part, notes=shift(tile(part.notes, loop_ticks, num_ticks + late), -late)) for part in parts]
    whole = (bars * (-(-plan.num_bars // len(bars)) + 1))[: plan.num_bars + 1]
    labels = Labels(
        chords=tuple(_from(chord_labels(whole, metre.bar_ticks), late, num_ticks)),
        sections=(("A", 0),),
        upbeat_ticks=-late % metre.bar_ticks,
    )
    score = Score(
        parts=tuple(tiled),
        samples_per_beat=plan.tempo.samples_per_beat,
        beats_per_bar=metre.beats_per_bar,
        num_bars=plan.num_bars,
        loop_bars=len(bars),
    )
    return score, labels


def _from(labels: Sequence[tuple[Chord, int]], first_tick: int, num_ticks: int) -> list[tuple[Chord, int]]:
    """The labels that apply from a tick on, as times from there."""
    later = [(chord, max(0, tick - first_tick)) for chord, tick in labels if tick - first_tick < num_ticks]
    return later[sum(tick == 0 for _, tick in later) - 1 :]


def _parts(
    plan: BandPlan, bars: Sequence[Sequence[Chord]], grooves: Sequence[str], metre: Metre, rng: random.Random
) -> list[Part]:
    """Some of MMA's parts; drum patterns often get our own bass and chords, other grooves sometimes a melody."""
    spans = spans_of(bars, metre)
    tracks = mma.play(plan.groove, bars, rng.randrange(1, 2**31), grooves)
    parts = thin_out(parts_of(tracks, plan.style.genre), plan.style, rng)
    parts = [replace(p, notes=power_chords(p.notes, spans)) if p.program in DISTORTED else p for p in parts]
    if plan.style.is_beat and rng.random() < 0.7:
        parts += [
            within_range(replace(part, notes=TEXTURES[texture](spans, metre)))
            for part, texture in draw_backing(plan.style, rng)
        ]
    melodic = [part for part in parts if part.role not in ("drums", "bass")]
    if plan.style.leads and melodic and len(melodic) <= 3 and rng.random() < 0.5:
        parts.append(_lead(plan, bars, metre, rng))
    if not parts:
        raise DataError(f"groove {plan.groove.name} of {plan.style.file} leaves no part with a named instrument")
    return parts


def _lead(plan: BandPlan, bars: Sequence[Sequence[Chord]], metre: Metre, rng: random.Random) -> Part:
    program = rng.choice(programs_of(rng.choice(plan.style.leads)))
    instrument = PROGRAMS[program]
    low, high = max(instrument.low, 55), min(instrument.high, 86)
    if high - low < 12:
        low, high = instrument.low, instrument.high
    phrase_bars = len(bars) if plan.form is None else plan.form.phrase_bars
    notes: list[Note] = []
    mood = "calm" if plan.tempo.bpm < 85 or plan.tempo.bpm > 150 else rng.choice(("calm", "moving"))
    for first in range(0, len(bars), phrase_bars):
        spans = spans_of(bars[first : first + phrase_bars], metre)
        scale = scale_of(plan.tonic, plan.progression.is_minor)
        theme = random.Random(f"{plan.detail_seed} {bars[first]}")
        notes += shift(melody(spans, metre, scale, low=low, high=high, mood=mood, rng=theme), first * metre.bar_ticks)
    return Part(program=program, role="lead", notes=tuple(notes))
