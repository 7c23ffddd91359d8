"""Folk tunes from historical collections in music21's corpus: an index, and their notes.

O'Neill's Music of Ireland (1903), Ryan's Mammoth Collection (1883) and Aird's Airs (1778) are in the public domain. A
tune may be in several of them, so its title, reduced to its letters, determines the split.
"""

import functools
import re
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from descant.errors import DataError
from starter_corpus.chords import KEY_NAMES
from starter_corpus.midi import read_tracks
from starter_corpus.music21_corpus import corpus_folder
from starter_corpus.programs import run_program
from starter_corpus.score import TICKS_PER_BEAT, Note, rescale, shift
from starter_corpus.spans import Metre
from starter_corpus.split import split_of

_COLLECTIONS = {"oneills1850": "oneills", "ryansMammoth": "ryans", "airdsAirs": "airds"}
_ABC_TICKS_PER_QUARTER = 480
_KEY = re.compile(r"^([A-G])([#b]?)\s*(m|min|minor|maj|major|dor|dorian|mix|mixolydian)?\s*$", re.IGNORECASE)
_NOTE = re.compile(r"\^{0,2}_{0,2}=?[A-Ga-gzx][,']*(\d*)(/*)(\d*)|\((\d)")

# Quarters per musical beat, by metre.
_QUARTERS_PER_BEAT = {
    "4/4": Fraction(1),
    "2/2": Fraction(2),
    "2/4": Fraction(1),
    "3/4": Fraction(1),
    "6/8": Fraction(3, 2),
    "9/8": Fraction(3, 2),
}
_METRES = {
    "4/4": Metre(beats_per_bar=4),
    "2/2": Metre(beats_per_bar=2),
    "2/4": Metre(beats_per_bar=2),
    "3/4": Metre(beats_per_bar=3),
    "6/8": Metre(beats_per_bar=2, is_compound=True),
    "9/8": Metre(beats_per_bar=3, is_compound=True),
}
_MODES = {"": "major", "m": "minor", "min": "minor", "maj": "major", "dor": "dorian", "mix": "mixolydian"}
_DANCES = {
    "slip jig": ("9/8",),
    "jig": ("6/8",),
    "strathspey": ("2/2", "4/4"),
    "hornpipe": ("2/2", "4/4", "2/4"),
    "reel": ("2/2", "4/4", "2/4"),
    "march": ("2/2", "4/4", "2/4", "6/8"),
    "waltz": ("3/4",),
    "polka": ("2/4",),
    "minuet": ("3/4",),
}
# O'Neill's book is ordered by dance; these numbers are well inside their chapters.
_ONEILLS_CHAPTERS = (("jig", 720, 1100), ("reel", 1180, 1545), ("hornpipe", 1580, 1755))


@dataclass(frozen=True, kw_only=True)
class Tune:
    """A tune of a collection: its ABC text, its tonic (0 is C), and the fields of its header.

    ``mode`` is major, minor, dorian or mixolydian; ``dance`` and ``origin`` are None if unknown.
    """

    source: str
    title: str
    text: str
    tonic: int
    mode: str
    metre_name: str
    dance: str | None
    origin: str | None

    @property
    def metre(self) -> Metre:
        return _METRES[self.metre_name]

    @property
    def split(self) -> str:
        return split_of("tune:" + re.sub(r"[^a-z]", "", self.title.lower().removesuffix(", the")))


@functools.cache
def tunes() -> tuple[Tune, ...]:
    """Every usable tune in a fixed order: those with a single key and metre, both of a known kind.

    Raises:
        MissingExtra: if music21, which carries the collections, is not installed.
    """
    corpus = corpus_folder()
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


def _read_tune(text: str, collection: str, stem: str) -> Tune | None:
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
    number = fields["X"].split()[0]
    name = {"oneills": number, "airds": f"{stem}-{number}"}.get(collection, stem)
    return Tune(
        source=f"{collection}:{name}",
        title=re.sub(r"\s+--.*", "", fields["T"]),
        text=text,
        tonic=(KEY_NAMES.index(letter.upper()) + {"": 0, "#": 1, "b": -1}[accidental]) % 12,
        mode=_MODES[(mode or "").lower()[:3]],
        metre_name=metre,
        dance=_dance(fields, collection, metre),
        origin={"oneills": "Irish", "airds": "Scottish"}.get(collection),
    )


def _dance(fields: dict[str, str], collection: str, metre: str) -> str | None:
    """The dance, if the collection names it or its numbering implies it, and the metre agrees."""
    header = (fields.get("R", "") + " " + fields["T"]).lower()
    for dance, metres in _DANCES.items():
        if re.search(rf"\b{dance}\b", header) and metre in metres:
            return dance
    number = fields["X"].split()[0]
    if collection == "oneills" and number.isdigit():
        for dance, first, last in _ONEILLS_CHAPTERS:
            if first <= int(number) <= last and metre in _DANCES[dance]:
                return dance
    return "slip jig" if metre == "9/8" else None


def notes_of(tune: Tune) -> tuple[Note, ...]:
    """The tune's notes with repeats written out; the first one begins at tick 0.

    Raises:
        MissingExtra: if abc2midi is not installed.
        DataError: if the tune cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="descant-abc-") as folder:
        source, target = Path(folder, "tune.abc"), Path(folder, "tune.mid")
        source.write_text(re.sub(r"^X:.*", "X:1", tune.text, count=1), encoding="utf-8")
        call = [str(source), "1", "-o", str(target)]
        run_program("abc2midi", call, package="abcmidi", reason="the folk tunes need")
        if not target.is_file():
            raise DataError(f"abc2midi could not read tune {tune.source}")
        tracks = read_tracks(target)
    if not tracks:
        raise DataError(f"tune {tune.source} has no notes")
    notes = max((track.notes for track in tracks), key=len)
    notes = rescale(notes, Fraction(TICKS_PER_BEAT, _ABC_TICKS_PER_QUARTER) / _QUARTERS_PER_BEAT[tune.metre_name])
    return shift(notes, -notes[0].onset)


def upbeat_ticks(tune: Tune) -> int | None:
    """The number of ticks before the first bar line; None if the first bar cannot be measured."""
    unit = re.search(r"^L:\s*(\d+)/(\d+)", tune.text, re.MULTILINE)
    unit_quarters = Fraction(int(unit.group(1)), int(unit.group(2))) * 4 if unit else Fraction(1, 2)
    body = re.split(r"^K:.*\n", tune.text, maxsplit=1, flags=re.MULTILINE)[1]
    body = re.sub(r'^[A-Za-z]:.*\n|"[^"]*"|\{[^}]*\}|![^!]*!|%.*', "", body, flags=re.MULTILINE)
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
    ticks = round(length * unit_quarters / _QUARTERS_PER_BEAT[tune.metre_name] * TICKS_PER_BEAT)
    if ticks == tune.metre.bar_ticks:
        return 0
    return ticks if 0 < ticks < tune.metre.bar_ticks else None
