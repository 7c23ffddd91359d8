"""Our own quiet pieces: one or two textures and often a melody, for solos and duos, which no groove file covers."""

import random
from dataclasses import dataclass, replace

from starter_corpus.arrangement import Arrangement, Tempo, draw_num_bars, draw_tempo, moods_of, within_range
from starter_corpus.basses import BASSES
from starter_corpus.chords import key_name, scale_of
from starter_corpus.form import Form, draw_form, phrase_chords
from starter_corpus.instruments import PROGRAMS, program_of
from starter_corpus.labels import Labels, chord_labels
from starter_corpus.melody import melody
from starter_corpus.production import Phrase, PhrasedPart, Setting, labels_of, produce, tail_beats
from starter_corpus.progressions import VALID_PROGRESSIONS, Progression, progressions
from starter_corpus.score import SAMPLE_RATE_HZ, Part, Score, tile
from starter_corpus.spans import Bars, Metre, spans_of
from starter_corpus.textures import TEXTURES

_LOOP_SHARE = 0.25
_ENDING_SHARE = 0.5

# names | genre | metres | slowest-fastest bpm | chord families | minor % | texture instrument, ... | leads
_TABLE = """
slow piano; piano ballad; solo piano | ballad | 4/4 3/4 | 56-80 | pop classical | 65 | wide piano | piano
piano nocturne; slow piano; solo piano | classical | 3/4 6/8 4/4 | 52-76 | classical | 65 | wide piano | piano
classical piano; piano étude | classical | 4/4 3/4 | 84-132 | classical | 40 | alberti piano | piano
minimal piano; piano pattern | classical | 4/4 6/8 | 84-126 | pop electronic | 55 | rising piano, roots piano | -
music box lullaby; music box; music box tune | lullaby | 3/4 6/8 4/4 | 60-96 | folk classical | 20 | rising music box | music box
lullaby; gentle lullaby; cradle song | lullaby | 3/4 6/8 | 58-84 | folk classical | 20 | arpeggio harp | flute, celesta, music box, violin
harp; solo harp; harp arpeggios | classical | 4/4 3/4 6/8 | 60-100 | classical folk | 40 | arpeggio harp, roots harp | -
harp and flute; pastoral duo | classical | 4/4 3/4 6/8 | 62-96 | classical folk | 40 | arpeggio harp | flute, oboe, recorder
slow strings; string ensemble; orchestral strings | classical | 4/4 3/4 | 54-84 | classical | 60 | block strings | violin, cello, viola
solo strings with piano; chamber music | classical | 4/4 3/4 6/8 | 60-100 | classical | 55 | alberti piano | violin, cello, clarinet, oboe, flute
pizzicato strings; playful strings | classical | 4/4 3/4 | 96-140 | classical folk | 25 | oompah pizzicato strings | clarinet, bassoon, flute, glockenspiel
church organ; organ hymn; church music | sacred | 4/4 3/4 | 60-92 | classical | 45 | block church organ | church organ
choir; slow choir; sacred choir | sacred | 4/4 | 56-84 | classical | 50 | block choir | -
choir and organ; church music | sacred | 4/4 3/4 | 56-84 | classical | 45 | block church organ | choir
ambient pad; ambient; atmospheric soundscape | ambient | 4/4 | 56-84 | electronic | 60 | block synth pad | synth bells, electric piano
ambient synthesizer; dreamy ambient | ambient | 4/4 | 60-96 | electronic | 60 | block synth pad, rising synth bells | -
synthesizer arpeggio; synth arpeggio; electronic arpeggio | electronic | 4/4 | 92-138 | electronic | 80 | rising synth lead, octaves synth bass | -
electric guitar; clean electric guitar | pop | 4/4 6/8 | 72-116 | pop rock | 40 | arpeggio electric guitar, roots bass guitar | electric guitar
electric guitar riff; rock guitar | rock | 4/4 | 88-150 | rock | 60 | chugs overdriven guitar, eighths bass guitar | overdriven guitar, electric guitar
heavy guitar riff; distorted guitar | metal | 4/4 | 96-160 | rock | 95 | chugs distorted guitar, eighths bass guitar | distorted guitar
fingerpicked acoustic guitar; folk guitar | folk | 4/4 3/4 | 76-124 | folk pop | 30 | picking acoustic guitar | harmonica, violin
nylon guitar and bass; mellow guitar duo | jazz | 4/4 | 76-120 | jazz latin | 45 | picking nylon guitar, walking upright bass | jazz guitar, vibraphone
synth sequence; analog synth; sequencer | electronic | 4/4 | 96-140 | electronic | 75 | sixteenths synth lead, eighths synth bass | synth lead
synth pop; bright synth | pop | 4/4 | 100-132 | pop electronic | 30 | sixteenths synth bells, octaves synth bass, block synth pad | synth lead
synth strings; lush synthesizer | ambient | 4/4 3/4 | 60-92 | electronic pop | 50 | block synth strings, rising synth bells | synth lead, synth voice
synthwave; retro synth; 80s synth | electronic | 4/4 | 84-118 | electronic | 85 | eighths synth bass, block synth pad | synth lead
nylon guitar solo; fingerpicked guitar; classical guitar | folk | 4/4 3/4 6/8 | 66-112 | folk classical | 45 | arpeggio nylon guitar, roots nylon guitar | -
acoustic guitar; strummed acoustic guitar; singer-songwriter guitar | folk | 4/4 6/8 | 72-120 | folk pop | 30 | strum acoustic guitar | -
guitar and flute; acoustic duo | folk | 4/4 3/4 6/8 | 66-108 | folk classical | 40 | arpeggio nylon guitar | flute, violin, clarinet, oboe, harmonica
accordion waltz; musette waltz | waltz | 3/4 | 108-168 | classical | 55 | oompah accordion | accordion, violin, clarinet
piano waltz; waltz for piano | waltz | 3/4 | 84-150 | classical | 45 | oompah piano | piano
waltz for strings; slow waltz | waltz | 3/4 | 80-132 | classical | 45 | oompah pizzicato strings, block strings | violin
harpsichord; baroque harpsichord; baroque | classical | 4/4 3/4 | 80-132 | classical | 50 | alberti harpsichord | harpsichord, recorder, oboe
vibraphone; mellow vibraphone | jazz | 4/4 | 66-110 | jazz | 40 | block vibraphone, two_feel upright bass | vibraphone
jazz piano and bass; jazz duo | jazz | 4/4 | 84-140 | jazz | 40 | stabs piano, two_feel upright bass | clarinet, tenor saxophone, flute, muted trumpet
electric piano; mellow electric piano; lo-fi chords | hip hop | 4/4 | 66-92 | jazz electronic | 60 | block electric piano, syncopated bass guitar | -
marimba; marimba pattern; minimalist marimba | world | 4/4 6/8 | 92-138 | pop folk | 40 | arpeggio marimba | marimba, flute
kalimba; thumb piano; kalimba pattern | world | 4/4 6/8 | 80-124 | folk pop | 30 | rising kalimba | kalimba, pan flute
koto; Japanese koto | world | 4/4 | 60-100 | electronic | 80 | rising koto | shakuhachi, koto
steel drums; Caribbean steel drums | reggae | 4/4 | 92-126 | folk | 0 | backbeat steel drums, two_feel bass guitar | steel drums
brass ensemble; brass fanfare; brass chorale | march | 4/4 | 72-112 | folk classical | 20 | pulse brass section, two_feel tuba | trumpet, french horn
celesta; magical celesta; fairy-tale music | lullaby | 4/4 3/4 | 72-116 | classical | 30 | rising celesta | celesta, glockenspiel
clarinet and piano; gentle duo | classical | 4/4 3/4 | 66-108 | classical | 45 | arpeggio piano | clarinet, oboe, flute, bassoon
solo cello; cello and harp | classical | 4/4 3/4 | 54-80 | classical | 70 | rising harp | cello
banjo; banjo picking | country | 4/4 | 100-150 | folk | 10 | rising banjo, two_feel upright bass | -
organ; soul organ | gospel | 4/4 6/8 | 60-96 | folk | 25 | block organ | organ
"""  # noqa: E501

_NAMED_METRES = {
    "4/4": Metre(beats_per_bar=4),
    "3/4": Metre(beats_per_bar=3),
    "6/8": Metre(beats_per_bar=2, is_compound=True),
}


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """One line of the table: style names of the piece, and the instrument of each texture."""

    names: tuple[str, ...]
    genre: str
    metres: tuple[str, ...]
    slowest_bpm: float
    fastest_bpm: float
    families: tuple[str, ...]
    minor_share: float
    textures: tuple[tuple[str, str], ...]
    leads: tuple[str, ...]


def _read_table() -> tuple[Sketch, ...]:
    sketches = []
    for line in _TABLE.strip().splitlines():
        names, genre, metres, tempo, families, minor, textures, leads = (cell.strip() for cell in line.split("|"))
        slowest, fastest = tempo.split("-")
        pairs = tuple(tuple(texture.strip().split(" ", 1)) for texture in textures.split(","))
        sketches.append(
            Sketch(
                names=tuple(name.strip() for name in names.split(";")),
                genre=genre,
                metres=tuple(metres.split()),
                slowest_bpm=float(slowest),
                fastest_bpm=float(fastest),
                families=tuple(families.split()),
                minor_share=int(minor) / 100,
                textures=tuple((texture, instrument) for texture, instrument in pairs),
                leads=() if leads == "-" else tuple(lead.strip() for lead in leads.split(",")),
            )
        )
    return tuple(sketches)


SKETCHES = _read_table()


@dataclass(frozen=True, kw_only=True)
class SketchPlan:
    """Sketch, metre, chords, key, tempo, form and lead of a piece.

    The split follows the chord progressions, which are all that two such pieces could share.

    Args:
        second: the progression of the phrases B.
        form: None is a loop of ``loop_bars``.
    """

    sketch: Sketch
    metre: str
    progression: Progression
    second: Progression
    tonic: int
    tempo: Tempo
    form: Form | None
    loop_bars: int
    lead: str | None
    detail_seed: int

    @property
    def source(self) -> str:
        return f"chords:{self.progression.name}"

    @property
    def split(self) -> str:
        return "valid" if self.progression.name in VALID_PROGRESSIONS else "train"

    @property
    def num_bars(self) -> int:
        return self.loop_bars if self.form is None else self.form.num_bars

    @property
    def num_beats(self) -> int:
        return self.num_bars * _NAMED_METRES[self.metre].beats_per_bar + tail_beats(self.form, self.tempo)


def plan_sketch(rng: random.Random) -> SketchPlan:
    """A random plan: sketch, metre, progressions, key, tempo, form and lead."""
    sketch = rng.choice(SKETCHES)
    metre = rng.choice(sketch.metres)
    is_minor = rng.random() < sketch.minor_share
    split = "valid" if rng.random() < 0.05 else "train"
    pool = progressions(rng.choice(sketch.families), is_minor=is_minor, split=split, max_bars=8)
    progression = rng.choice(pool)
    beats = _NAMED_METRES[metre].beats_per_bar
    slowdown = 0.75 if metre == "6/8" else 1.0
    tempo = draw_tempo(rng, max(45.0, sketch.slowest_bpm * slowdown), sketch.fastest_bpm * slowdown)
    is_loop = rng.random() < _LOOP_SHARE and len(progression.bars) <= 4
    bar_s = beats * tempo.samples_per_beat / SAMPLE_RATE_HZ
    form = None if is_loop else draw_form(rng, bar_s, len(progression.bars), progression.family, _ENDING_SHARE)
    lead = rng.choice(sketch.leads) if sketch.leads and rng.random() < 0.85 else None
    return SketchPlan(
        sketch=sketch,
        metre=metre,
        progression=progression,
        second=rng.choice(pool),
        tonic=rng.randrange(12),
        tempo=tempo,
        form=form,
        loop_bars=draw_num_bars(rng, tempo, beats, min(4, len(progression.bars))),
        lead=lead,
        detail_seed=rng.getrandbits(32),
    )


def arrange_sketch(plan: SketchPlan) -> Arrangement:
    """The arrangement of a plan; a loop repeats exactly, including the melody."""
    rng = random.Random(plan.detail_seed)
    score, labels = _arrange_loop(plan, rng) if plan.form is None else _arrange_form(plan, plan.form, rng)
    is_minor = plan.progression.is_minor
    return Arrangement(
        score=score,
        genre=plan.sketch.genre,
        styles=plan.sketch.names,
        moods=moods_of(is_minor=is_minor, bpm=plan.tempo.bpm, genre=plan.sketch.genre, has_drums=False),
        tempo=plan.tempo,
        key=key_name(plan.tonic, is_minor),
        metre=plan.metre,
        source=plan.source,
        title=f"{plan.sketch.names[0]} over {plan.progression.name}",
        labels=labels,
    )


def _arrange_form(plan: SketchPlan, form: Form, rng: random.Random) -> tuple[Score, Labels]:
    is_minor = plan.progression.is_minor
    progression_of = {"B": plan.second}
    chords: dict[Phrase, Bars] = {
        phrase: phrase_chords(
            progression_of.get(phrase[0], plan.progression).in_key(plan.tonic), form, phrase[1], plan.tonic, is_minor
        )
        for phrase in dict.fromkeys(form.phrases)
    }
    setting = Setting(
        form=form,
        chords=chords,
        tonic=plan.tonic,
        is_minor=is_minor,
        metre=_NAMED_METRES[plan.metre],
        tempo=plan.tempo,
        genre=plan.sketch.genre,
    )
    mood = _mood(plan, rng)
    played = {phrase: _parts(plan, bars, mood, phrase[0]) for phrase, bars in chords.items()}
    phrased = [
        PhrasedPart(
            part=replace(part, notes=()), played={phrase: parts[number].notes for phrase, parts in played.items()}
        )
        for number, part in enumerate(played[form.phrases[0]])
    ]
    return produce(phrased, setting, rng), labels_of(setting, has_chords=True)


def _arrange_loop(plan: SketchPlan, rng: random.Random) -> tuple[Score, Labels]:
    metre = _NAMED_METRES[plan.metre]
    chords = plan.progression.in_key(plan.tonic)
    bars = chords * 2 if len(chords) == 2 else chords
    num_ticks = plan.num_bars * metre.bar_ticks
    parts = [
        replace(part, notes=tile(part.notes, len(bars) * metre.bar_ticks, num_ticks))
        for part in _parts(plan, bars, _mood(plan, rng), "A")
    ]
    whole = (bars * plan.num_bars)[: plan.num_bars]
    score = Score(
        parts=tuple(parts),
        samples_per_beat=plan.tempo.samples_per_beat,
        beats_per_bar=metre.beats_per_bar,
        num_bars=plan.num_bars,
        loop_bars=len(bars),
    )
    return score, Labels(chords=tuple(chord_labels(whole, metre.bar_ticks)), sections=(("A", 0),))


def _mood(plan: SketchPlan, rng: random.Random) -> str:
    return "calm" if plan.tempo.bpm < 84 or rng.random() < 0.4 else "moving"


def _parts(plan: SketchPlan, bars: Bars, mood: str, letter: str) -> list[Part]:
    """The textures and the melody over some bars; a letter always has the same melody."""
    metre = _NAMED_METRES[plan.metre]
    spans = spans_of(bars, metre)
    parts = []
    for place, (texture, name) in enumerate(plan.sketch.textures):
        role = "pad" if texture == "block" and plan.lead else "chords" if place else "arpeggio"
        notes = TEXTURES[texture](spans, metre)
        role = "bass" if texture in BASSES else role
        parts.append(within_range(Part(program=program_of(name), role=role, notes=notes)))
    if plan.lead is not None:
        program = program_of(plan.lead)
        low, high = _lead_range(program)
        scale = scale_of(plan.tonic, plan.progression.is_minor)
        theme = random.Random(f"{plan.detail_seed} {letter}")
        notes = melody(spans, metre, scale, low=low, high=high, mood=mood, rng=theme)
        parts.append(Part(program=program, role="lead", notes=notes))
    return parts


def _lead_range(program: int) -> tuple[int, int]:
    """Up to 20 semitones of the instrument's range, above the accompaniment if it reaches that high."""
    instrument = PROGRAMS[program]
    low = min(max(instrument.low, 62), instrument.high - 14)
    return low, min(instrument.high, low + 20)
