"""Folk tunes from old printed collections in music21's corpus: their index, and a piece made of one.

O'Neill's Music of Ireland (1903), Ryan's Mammoth Collection (1883) and Aird's Airs (1778) are in the public domain. The
same tune stands in several of them, so its title without spelling is what decides the split.
"""

import functools
import importlib.util
import random
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from descant.data.starter.arrangement import (
    Arrangement,
    Tempo,
    draw_num_bars,
    draw_tempo,
    moods_of,
)
from descant.data.starter.chords import KEY_NAMES, Chord, key_name
from descant.data.starter.harmonize import harmonize
from descant.data.starter.instruments import PROGRAMS, program_of
from descant.data.starter.midi import read_tracks
from descant.data.starter.score import TICKS_PER_BEAT, Note, Part, Score, into_range, rescale, shift, tile, transpose
from descant.data.starter.split import split_of
from descant.data.starter.textures import TEXTURES, Metre, spans_of
from descant.errors import DataError, MissingExtra

_COLLECTIONS = {"oneills1850": "oneills", "ryansMammoth": "ryans", "airdsAirs": "airds"}
_ABC_TICKS_PER_QUARTER = 480
_KEY = re.compile(r"^([A-G])([#b]?)\s*(m|min|minor|maj|major|dor|dorian|mix|mixolydian)?\s*$", re.IGNORECASE)
_NOTE = re.compile(r"\^{0,2}_{0,2}=?[A-Ga-gzx][,']*(\d*)(/*)(\d*)|\((\d)")

# How a metre is felt: beats in a bar, quarters in a beat, and whether beats divide in three.
_METRES = {
    "4/4": (4, Fraction(1), False),
    "2/2": (2, Fraction(2), False),
    "2/4": (2, Fraction(1), False),
    "3/4": (3, Fraction(1), False),
    "6/8": (2, Fraction(3, 2), True),
    "9/8": (3, Fraction(3, 2), True),
}
_SOLOISTS = (
    "violin violin flute flute whistle accordion piano nylon-guitar acoustic-guitar harp clarinet recorder oboe "
    "banjo music-box harpsichord church-organ dulcimer cello pan-flute marimba vibraphone celesta trumpet bagpipes "
    "kalimba electric-piano harmonica alto-saxophone ocarina bassoon choir glockenspiel koto"
).split()
_QUICK_SOLOISTS = [name for name in _SOLOISTS if name not in ("choir", "cello", "church-organ", "bassoon")]
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
    ("two_feel", "upright bass"),
)
_SPEEDS = {
    "jig": (92, 124),
    "slip jig": (96, 124),
    "reel": (88, 116),
    "hornpipe": (70, 96),
    "waltz": (96, 150),
    "march": (88, 116),
    "strathspey": (60, 80),
    "polka": (110, 136),
    "minuet": (92, 126),
}


@dataclass(frozen=True, kw_only=True)
class Tune:
    """A tune of a collection: its ABC text, its key with ``mode`` major, minor, dorian or mixolydian, and its dance."""

    source: str
    title: str
    text: str
    tonic: int
    mode: str
    metre: str
    dance: str | None
    origin: str

    @property
    def split(self) -> str:
        return split_of("tune:" + re.sub(r"[^a-z]", "", self.title.lower().removesuffix(", the")))


@functools.cache
def tunes() -> tuple[Tune, ...]:
    """Every usable tune, in a fixed order: one key and one metre throughout, in one of the modes and metres we know.

    Raises:
        MissingExtra: if music21, which carries the collections, is not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise MissingExtra('the folk tunes are in music21: pip install "descant[starter-data]"')
    corpus = Path(spec.origin).parent / "corpus"
    found = []
    for folder, name in _COLLECTIONS.items():
        for path in sorted((corpus / folder).glob("*.abc")):
            found += _read_collection(path, name)
    return tuple(found)


def _read_collection(path: Path, name: str) -> list[Tune]:
    found = []
    for block in re.split(r"\n\s*\n(?=\s*X:)", path.read_text(encoding="utf-8", errors="replace")):
        start = block.find("X:")
        if start >= 0:
            tune = _read_tune(block[start:], name, path.stem)
            if tune is not None:
                found.append(tune)
    return found


def _read_tune(text: str, name: str, stem: str) -> Tune | None:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if len(line) > 2 and line[1] == ":" and line[0].isalpha():
            if line[0] in fields and line[0] in "KMV":
                return None
            fields.setdefault(line[0], line[2:].split("%")[0].strip())
    key = _KEY.match(fields.get("K", ""))
    metre = {"C": "4/4", "C|": "2/2"}.get(fields.get("M", ""), fields.get("M", ""))
    if key is None or metre not in _METRES or not fields.get("T") or "[K:" in text or "[M:" in text:
        return None
    letter, accidental, mode = key.groups()
    tonic = (KEY_NAMES.index(letter.upper()) + {"": 0, "#": 1, "b": -1}[accidental]) % 12
    number = fields["X"].split()[0]
    source = f"{name}:{number}" if name == "oneills" else f"{name}:{stem}-{number}" if name == "airds" else f"{name}:{stem}"
    modes = {"m": "minor", "min": "minor", "dor": "dorian", "mix": "mixolydian"}
    title = re.sub(r"\s+--.*", "", fields["T"])
    return Tune(
        source=source,
        title=title,
        text=text,
        tonic=tonic,
        mode=modes.get((mode or "").lower()[:3] if (mode or "").lower() != "m" else "m", "major"),
        metre=metre,
        dance=_dance(fields, name, metre),
        origin={"oneills": "Irish", "ryans": "fiddle", "airds": "Scottish"}[name],
    )


def _dance(fields: dict[str, str], name: str, metre: str) -> str | None:
    """The dance, where the collection says it or its numbering leaves no doubt, and the metre agrees."""
    said = (fields.get("R", "") + " " + fields["T"]).lower()
    number = int(fields["X"].split()[0]) if fields["X"].split()[0].isdigit() else 0
    for dance in ("slip jig", "jig", "strathspey", "hornpipe", "reel", "march", "waltz", "polka", "minuet"):
        if re.search(rf"\b{dance}\b", said) and metre in _DANCE_METRES[dance]:
            return dance
    if name == "oneills":
        for dance, low, high in (("jig", 720, 1100), ("reel", 1180, 1545), ("hornpipe", 1580, 1755)):
            if low <= number <= high and metre in _DANCE_METRES[dance]:
                return dance
    return "slip jig" if metre == "9/8" else None


_DANCE_METRES = {
    "slip jig": ("9/8",),
    "jig": ("6/8",),
    "reel": ("2/2", "4/4", "2/4"),
    "strathspey": ("2/2", "4/4"),
    "hornpipe": ("2/2", "4/4", "2/4"),
    "march": ("2/2", "4/4", "2/4", "6/8"),
    "waltz": ("3/4",),
    "polka": ("2/4",),
    "minuet": ("3/4",),
}


@dataclass(frozen=True, kw_only=True)
class TunePlan:
    """A folk-tune piece, decided. ``tonic`` is where the tune is transposed to."""

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
        return self.num_bars * _METRES[self.tune.metre][0]


def plan_tune(rng: random.Random) -> TunePlan:
    """Draws a tune, its key, tempo, soloist and, for half of the pieces, an accompaniment."""
    tune = rng.choice(tunes())
    is_slow = rng.random() < (0.2 if tune.dance else 0.5)
    usual = _SPEEDS.get(tune.dance or "", (84, 120) if tune.metre in ("2/2", "6/8", "9/8") else (92, 132))
    slowest, fastest = (52, 76) if is_slow else usual
    tempo = draw_tempo(rng, slowest, fastest)
    draw = rng.random()
    accompaniment = () if draw < 0.45 else (rng.choice(_ACCOMPANISTS),)
    if draw > 0.88 and accompaniment[0][0] != "two_feel":
        accompaniment += (_ACCOMPANISTS[-1],)
    return TunePlan(
        tune=tune,
        tonic=rng.randrange(12),
        tempo=tempo,
        num_bars=draw_num_bars(rng, tempo, _METRES[tune.metre][0], 4),
        soloist=rng.choice(_SOLOISTS if is_slow else _QUICK_SOLOISTS).replace("-", " "),
        accompaniment=accompaniment,
        is_slow=is_slow,
    )


def arrange_tune(plan: TunePlan) -> Arrangement:
    """The tune in its new key and tempo, from its first note, over and over until the piece is long enough.

    Raises:
        MissingExtra: if abc2midi is not installed.
        DataError: if the tune cannot be read, or is too short to be one.
    """
    tune = plan.tune
    beats_per_bar, quarters, is_compound = _METRES[tune.metre]
    metre = Metre(beats_per_bar=beats_per_bar, is_compound=is_compound)
    notes = transpose(_notes_of(tune, quarters), (plan.tonic - tune.tonic + 5) % 12 - 5)
    upbeat = upbeat_ticks(tune)
    tune_ticks = -(-max(note.onset + note.length for note in notes) // metre.bar_ticks) * metre.bar_ticks
    if tune_ticks < 4 * metre.bar_ticks or len(notes) < 12:
        raise DataError(f"tune {tune.source} has only {len(notes)} notes")
    num_ticks = plan.num_bars * metre.bar_ticks
    notes = tile(notes, tune_ticks, num_ticks)
    soloist = PROGRAMS[program_of(plan.soloist)]
    low, high = max(soloist.low, min(58, soloist.high - 24)), soloist.high
    solo = Part(program=program_of(plan.soloist), role="lead", notes=into_range(notes, low, high))
    parts = [solo]
    if upbeat is not None:
        parts += _accompany(plan, notes, metre, upbeat)
    genre, styles = _styles(plan, parts)
    return Arrangement(
        score=Score(
            parts=tuple(parts),
            samples_per_beat=plan.tempo.samples_per_beat,
            beats_per_bar=beats_per_bar,
            num_bars=plan.num_bars,
        ),
        genre=genre,
        styles=styles,
        moods=_moods(plan),
        tempo=plan.tempo,
        key=key_name(plan.tonic, tune.mode == "minor") if tune.mode in ("major", "minor") else None,
        metre=tune.metre,
        source=tune.source,
        title=tune.title,
    )


def _notes_of(tune: Tune, quarters_per_beat: Fraction) -> tuple[Note, ...]:
    program = shutil.which("abc2midi")
    if program is None:
        raise MissingExtra("the folk tunes need the program abc2midi. Install it: apt install abcmidi")
    with tempfile.TemporaryDirectory(prefix="descant-abc-") as folder:
        source, target = Path(folder, "tune.abc"), Path(folder, "tune.mid")
        source.write_text(re.sub(r"^X:.*", "X:1", tune.text, count=1), encoding="utf-8")
        subprocess.run([program, str(source), "1", "-o", str(target)], capture_output=True, timeout=30, check=False)
        if not target.is_file():
            raise DataError(f"abc2midi could not read tune {tune.source}")
        tracks = read_tracks(target)
    if not tracks:
        raise DataError(f"tune {tune.source} has no notes")
    notes = max((track.notes for track in tracks), key=len)
    notes = rescale(notes, Fraction(TICKS_PER_BEAT, _ABC_TICKS_PER_QUARTER) / quarters_per_beat)
    return shift(notes, -notes[0].onset)


def upbeat_ticks(tune: Tune) -> int | None:
    """How many ticks sound before the first bar line; None where the first bar cannot be measured."""
    beats_per_bar, quarters, _ = _METRES[tune.metre]
    unit = re.search(r"^L:\s*(\d+)/(\d+)", tune.text, re.MULTILINE)
    unit_quarters = Fraction(int(unit.group(1)), int(unit.group(2))) * 4 if unit else Fraction(1, 2)
    body = tune.text[re.search(r"^K:.*\n", tune.text, re.MULTILINE).end() :]
    body = re.sub(r'^[A-Za-z%]:?.*:.*\n|"[^"]*"|\{[^}]*\}|![^!]*!|%.*', "", body, flags=re.MULTILINE)
    first = next((bar for bar in re.split(r"[|:\[\]]+", body) if _NOTE.search(bar)), "")
    length, tuplet = Fraction(0), 0
    for match in _NOTE.finditer(first):
        number, slashes, divisor, tuplet_size = match.groups()
        if tuplet_size:
            tuplet = int(tuplet_size)
            if tuplet != 3:
                return None
            continue
        value = Fraction(int(number) if number else 1, int(divisor) if divisor else 2 ** len(slashes))
        length += value * Fraction(2, 3) if tuplet else value
        tuplet = max(0, tuplet - 1)
    ticks = length * unit_quarters / quarters * TICKS_PER_BEAT
    bar = beats_per_bar * TICKS_PER_BEAT
    if ticks == bar:
        return 0
    return round(ticks) if 0 < ticks < bar else None


def _accompany(plan: TunePlan, notes: tuple[Note, ...], metre: Metre, upbeat: int) -> list[Part]:
    if not plan.accompaniment:
        return []
    bars: list[tuple[Chord, ...]] = [(chord,) for chord in harmonize(notes, upbeat, metre, plan.tonic, plan.tune.mode)]
    spans = spans_of(bars, metre, centre=57)
    num_ticks = plan.num_bars * metre.bar_ticks
    parts = []
    for texture, name in plan.accompaniment:
        played = shift(TEXTURES[texture](spans, metre), upbeat)
        kept = tuple(note for note in played if note.onset < num_ticks)
        role = "bass" if texture == "two_feel" else "pad" if texture == "block" else "chords"
        program = program_of(name)
        parts.append(Part(program=program, role=role, notes=into_range(kept, PROGRAMS[program].low, PROGRAMS[program].high)))
    return parts


def _moods(plan: TunePlan) -> tuple[str, ...]:
    is_minor = plan.tune.mode in ("minor", "dorian")
    moods = moods_of(is_minor=is_minor, bpm=plan.tempo.bpm, genre="folk", has_drums=False)
    return moods if plan.is_slow or plan.tune.dance is None else ("lively", "rustic", *moods[:2])


def _styles(plan: TunePlan, parts: list[Part]) -> tuple[str, tuple[str, ...]]:
    """What the piece is: a dance at its speed, or at a slow one just an air."""
    tune, dance = plan.tune, plan.tune.dance
    origin = {"Irish": "Irish", "Scottish": "Scottish", "fiddle": ""}[tune.origin]
    if plan.is_slow or dance is None:
        kind = "slow air" if plan.is_slow else "folk tune"
        return "folk", tuple(f"{word} {kind}".strip() for word in (origin, "traditional"))
    names = [f"{origin} {dance}".strip(), f"folk {dance}", dance]
    if dance == "march":
        return "folk", tuple(names)
    if dance in ("jig", "reel", "hornpipe") and origin == "Irish":
        names.append(f"Celtic {dance}")
    return "folk", tuple(names)
