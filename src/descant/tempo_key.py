"""Tempo and key, and what a text states of them and of the metre."""

import re
from dataclasses import dataclass, replace

SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
"""What is read as a tempo; a number outside is taken for something else."""

OPEN = ("auto", "none")
"""Values of a tempo and of a key, where users give them, that state none."""

# A number that is no part of a longer one.
_NUMBER = r"(?<![\d.,])(\d+(?:\.\d+)?)(?![.,]?\d)"
_TEMPO = re.compile(rf"{_NUMBER}[\s-]*(?:bpm|beats per minute)\b|\b(?:bpm\s*[:=]?|tempo\s*[:=]|tempo of)\s*{_NUMBER}")
_MODE_NAME = r"(?i:maj(?:or)?|min(?:or)?)"
_ACCIDENTAL = r"[\s-]?(#|♯|b\b|♭|(?i:sharp|flat))"
_BEFORE = r"(?:(?<=\b[Ii]n )|(?<=[Kk]ey of )|(?<=[Kk]ey: )|(?<=, ))"
_AFTER = r"(?=\s*(?:$|[.,;:!?)\d]|(?:about|and|around|at|by|featuring|for|on|played|with)\b))"
# "A minor" in "A minor key", or at the beginning of a sentence, is an article more likely than a tonic.
_IS_TONIC = (
    rf"(?:(?=[B-Gb-g])|(?=[Aa]{_ACCIDENTAL})|{_BEFORE}(?=A)|{_BEFORE}(?=a[\s-]?{_MODE_NAME}{_AFTER})|"
    rf"(?=[Aa][\s-]?{_MODE_NAME}(?:[.,;]|$)))"
).replace("(#", "(?:#")
_KEY = re.compile(rf"(?<![\w&]){_IS_TONIC}([A-Ga-g])(?:{_ACCIDENTAL})?[\s-]*({_MODE_NAME})\b")
# "Dm G C" names chords and "I am" no key, so a short name is read in a place where keys are named only.
_SHORT_KEY = re.compile(rf"(?:^|{_BEFORE})([A-Ga-g])([#♯b♭]?)(m)\b{_AFTER}")
_NO_KEY = re.compile(r"(?:\b[Ii]n |[Kk]ey of |[Kk]ey: )([H-Zh-z][\s-]?(?i:major|minor))\b")
_KEY_ALONE = re.compile(rf"([A-Ga-g])(?:[\s-]?(#|♯|b|♭|(?i:sharp|flat)))?[\s-]*(m|{_MODE_NAME})?")
_MODE = re.compile(r"\b(major|minor)\b")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHIFTS = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "nine": 9, "twelve": 12, "eight": 8}
_METRE = re.compile(
    r"(?<![\d/])(2|3|4|5|6|7|9|12)/(2|4|8)(?![\d/])|"
    r"\b(two|three|four|five|six|seven|nine|twelve)[ -](two|four|eight)\b|\b(waltz)"
)
NUM_KEYS = 24
"""Twelve tonics in two modes."""
NOTES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class TempoKey:
    """The tempo and the key of music, as far as they are known.

    Args:
        key: the tonic's semitones above C, 12 more where the mode is minor.
        is_minor: the mode, which may be known without a tonic.
    """

    bpm: float | None = None
    key: int | None = None
    is_minor: bool | None = None

    @property
    def key_name(self) -> str | None:
        """Such as "F# minor"; None without a tonic."""
        return None if self.key is None else f"{NOTES[self.key % 12]} {'minor' if self.key >= 12 else 'major'}"

    def completed(self, other: "TempoKey") -> "TempoKey":
        """This one, with the tempo and the key of the other where they are open and no mode contradicts them."""
        bpm = other.bpm if self.bpm is None else self.bpm
        if self.key is not None or self.is_minor not in (None, other.is_minor):
            return replace(self, bpm=bpm)
        return replace(other, bpm=bpm)

    def with_key(self, key: int) -> "TempoKey":
        """This one in a key."""
        return replace(self, key=key, is_minor=key >= 12)


UNKNOWN = TempoKey()


def parse_tempo_key(text: str | None) -> TempoKey:
    """The first tempo and the first key of a text: "120 bpm", "in F# minor", "in a minor", "in Am"; "a major hit"
    states a mode only.
    """
    if text is None:
        return TempoKey()
    numbers = (float(before or after) for before, after in _TEMPO.findall(text.lower()))
    bpm = next((number for number in numbers if SLOWEST_BPM <= number <= FASTEST_BPM), None)
    found = [match for pattern in (_KEY, _SHORT_KEY) if (match := pattern.search(text)) is not None]
    if not found:
        mode = _MODE.search(text.lower())
        return TempoKey(bpm=bpm, is_minor=None if mode is None else mode[1] == "minor")
    return TempoKey(bpm=bpm).with_key(_key_of(min(found, key=re.Match.start)))


def unused_tempo_key(text: str | None) -> list[str]:
    """What a text states of tempo and key that ``parse_tempo_key`` does not use, one sentence each."""
    if text is None:
        return []
    tempi = list(dict.fromkeys(float(before or after) for before, after in _TEMPO.findall(text.lower())))
    usable = [bpm for bpm in tempi if SLOWEST_BPM <= bpm <= FASTEST_BPM]
    notes = [
        f"{bpm:g} bpm is outside {SLOWEST_BPM:g} to {FASTEST_BPM:g} and is not used"
        for bpm in tempi
        if bpm not in usable
    ]
    if len(usable) > 1:
        notes.append(f"{len(usable)} tempos are stated; {usable[0]:g} bpm is used")
    notes += [f"{found[1]!r} is not a key and is not used" for found in _NO_KEY.finditer(text)]
    found = sorted((one for pattern in (_KEY, _SHORT_KEY) for one in pattern.finditer(text)), key=re.Match.start)
    keys = list(dict.fromkeys(map(_key_of, found)))
    if len(keys) > 1:
        notes.append(f"{len(keys)} keys are stated; {UNKNOWN.with_key(keys[0]).key_name} is used")
    return notes


def parse_key(name: str) -> int | None:
    """The key with a name such as "F# minor", "Bb major", "am" or "C" (a major key), as in `TempoKey`; None if it is
    not the name of a key.
    """
    found = _KEY_ALONE.fullmatch(name.strip())
    return None if found is None else _key_of(found)


def parse_metre(text: str | None) -> str | None:
    """The first metre of a text, such as "3/4" for "in 3/4", "in three four" or a waltz; None if it states none."""
    found = None if text is None else _METRE.search(text.lower())
    if found is None:
        return None
    beats, unit, spelt_beats, spelt_unit, _ = found.groups()
    if spelt_beats is not None:
        return f"{_NUMBERS[spelt_beats]}/{_NUMBERS[spelt_unit]}"
    return "3/4" if beats is None else f"{beats}/{unit}"


def beats_per_bar(metre: str) -> float:
    """The beats of a bar: of 6/8 and its like three eighths each, of 7/8 quarters, and of 2/2 half notes."""
    count, unit = (int(number) for number in metre.split("/"))
    if unit != 8:
        return float(count)
    return count / 3 if count % 3 == 0 else count / 2


def stated_tempo_key(text: str | None, tempo: float | str, key: str) -> TempoKey:
    """What a text states, and a tempo and a key that are given in addition, unless these are among ``OPEN``."""
    stated = parse_tempo_key(text)
    if not isinstance(tempo, str):
        stated = replace(stated, bpm=tempo)
    given = None if key in OPEN else parse_key(key)
    return stated if given is None else stated.with_key(given)


def without_tempo_key(text: str) -> str:
    """The text without the tempi, the keys and the modes that it states."""
    for pattern in (
        _KEY,
        _SHORT_KEY,
        re.compile(_TEMPO.pattern, re.IGNORECASE),
        re.compile(_MODE.pattern, re.IGNORECASE),
    ):
        text = pattern.sub(" ", text)
    return text


def _key_of(found: re.Match[str]) -> int:
    letter, accidental, mode = found.groups(default="")
    is_minor = mode == "m" or mode.lower().startswith("min")
    return (_SEMITONES[letter.upper()] + _SHIFTS[accidental.lower()]) % 12 + 12 * is_minor
