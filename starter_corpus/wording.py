"""Captions: the same facts in many wordings, from tags to a sentence; nothing is said that the facts do not hold."""

import random
import re
from collections.abc import Callable, Sequence

from starter_corpus.facts import Facts, fitting_styles, speed_words, spell_genre
from starter_corpus.instruments import DRUMS

NUM_CAPTIONS = 6


def captions(facts: Facts, rng: random.Random) -> tuple[str, ...]:
    """Six different captions of a piece, the terse and the full mixed."""
    voice = _Voice(facts, rng)
    makers: list[Callable[[], str]] = [
        voice.tags,
        voice.tags,
        voice.label,
        voice.sentence,
        voice.sentence,
        voice.players,
        voice.full,
        voice.request,
        voice.full,
        voice.tags,
    ]
    made: dict[str, None] = {}
    for _ in range(4):
        for maker in makers[: NUM_CAPTIONS + 2]:
            made.setdefault(" ".join(maker().split()))
            if len(made) == NUM_CAPTIONS:
                return tuple(made)
    return tuple(made)


class _Voice:
    """Says the facts; every call draws which of them and in which words."""

    def __init__(self, facts: Facts, rng: random.Random) -> None:
        self.facts = facts
        self.rng = rng
        self.styles = fitting_styles(facts)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def style(self) -> str:
        if self.facts.genre not in ("world", "show") and self.chance(0.2):
            return spell_genre(self.facts.genre)
        return self.rng.choice(self.styles)

    def noun(self, style: str) -> str:
        """What the piece is: a drum beat, a solo, or the style with or without a word after it."""
        if not self.facts.instruments:
            return style if "beat" in style else self.rng.choice((f"{style} drum beat", f"{style} beat"))
        if style.split()[-1] in _NOUNS:
            return style
        return f"{style} {self.rng.choice(('piece', 'piece', 'tune', 'track'))}"

    def mood(self, style: str) -> str:
        """A mood word that the style's name does not hold already."""
        moods = [mood for mood in self.facts.moods[:4] if mood not in style]
        return self.rng.choice(moods) if moods else ""

    def speed(self, style: str) -> str:
        """A word for the tempo, unless the style's name says as much."""
        if re.search(r"\b(slow|fast|up-tempo|mid-tempo|lively|hot|lazy)\b", style):
            return ""
        return self.rng.choice(speed_words(self.facts.bpm, self.facts.metre))

    def bpm(self) -> str:
        return self.rng.choice(("{} bpm", "{} BPM", "{} bpm")).format(round(self.facts.bpm))

    def metre(self, style: str) -> str:
        """The metre in words, unless the style's name already speaks of one."""
        metre = self.facts.metre
        if "/" in style or "waltz" in style or metre == "2/2":
            return ""
        if metre == "3/4":
            return self.rng.choice(("in 3/4", "in waltz time", "in 3/4 time"))
        return self.rng.choice((f"in {metre}", f"in {metre} time"))

    def says_metre(self) -> bool:
        return self.chance(0.08 if self.facts.metre == "4/4" else 0.45)

    def some_instruments(self, most: int) -> list[str]:
        """The first one to ``most`` instruments, the lead among them."""
        return list(self.facts.instruments[: self.rng.randint(1, most)])

    def band(self, most: int) -> str:
        names = self.some_instruments(most)
        if self.facts.has_drums and self.chance(0.6):
            names.append(DRUMS.name)
        return _listed(names)

    def drums(self) -> str:
        if self.facts.is_drumless and self.chance(0.25):
            return self.rng.choice(("no drums", "without drums"))
        return ""

    def tags(self) -> str:
        """Tags with commas between them: style first, the rest in any order."""
        style = self.style()
        rest = []
        if self.chance(0.8):
            rest += [name for name in self.some_instruments(3) if name not in style]
        if self.facts.has_drums and (self.chance(0.35) or not self.facts.instruments):
            rest.append(DRUMS.name)
        if self.chance(0.4):
            rest.append(self.mood(style))
        if self.chance(0.55):
            rest.append(self.bpm())
        if self.chance(0.35):
            rest.append(self.speed(style))
        if self.facts.key and self.chance(0.3):
            rest.append(self.facts.key)
        if self.says_metre():
            rest.append(self.metre(style).removeprefix("in "))
        if self.chance(0.4):
            rest.append(self.drums())
        self.rng.shuffle(rest)
        return ", ".join(dict.fromkeys(word for word in [style, *rest] if word))

    def label(self) -> str:
        """A few words, as a person in a hurry types them."""
        style = self.style()
        words = [self.speed(style) if self.chance(0.4) else "", self.mood(style) if self.chance(0.5) else ""]
        name = style if self.facts.instruments and self.chance(0.5) else self.noun(style)
        return " ".join(word for word in [*dict.fromkeys(words), name] if word)

    def sentence(self) -> str:
        """One plain sentence."""
        style = self.style()
        adjectives = [self.speed(style) if self.chance(0.6) else "", self.mood(style) if self.chance(0.7) else ""]
        start = _with_article(f"{_joined(adjectives)} {self.noun(style)}".strip())
        if self.facts.instruments and not all(name in style for name in self.facts.instruments):
            start += self.rng.choice((" with ", " for ", " played by ", " featuring ")) + self.band(3)
        if self.facts.key and self.chance(0.5):
            start += f" in {self.facts.key}"
        if self.says_metre():
            start += f" {self.metre(style)}"
        if self.chance(0.3):
            start += f" at {self.bpm()}"
        return _finished(start)

    def players(self) -> str:
        """Who plays, then what."""
        style = self.style()
        if not self.facts.instruments:
            return _finished(f"drums playing {_with_article(self.noun(style))} at {self.bpm()}")
        names = self.some_instruments(4)
        if len(self.facts.instruments) == 1 and self.facts.is_drumless and self.chance(0.6):
            names = [f"solo {names[0]}"]
        verb = self.rng.choice(("playing", "in", "-"))
        adjective = self.mood(style) if self.chance(0.6) else self.speed(style)
        noun = f"{adjective} {style}".strip()
        line = _listed(names) + (f", {noun}" if verb == "-" else f" {verb} {_with_article(noun + _piece_word(style))}")
        if self.facts.has_drums and self.chance(0.5):
            line += " with drums"
        elif self.drums():
            line += ", no drums"
        return _finished(line)

    def full(self) -> str:
        """Most of the facts in one or two sentences."""
        style = self.style()
        start = _with_article(f"{_joined([self.speed(style), self.mood(style)])} {self.noun(style)}".strip())
        if self.facts.key:
            start += f" in {self.facts.key}"
        if self.says_metre() or self.facts.metre not in ("4/4", "2/2"):
            start += f" {self.metre(style)}"
        start += self.rng.choice((f" at {self.bpm()}", f", around {self.bpm()}", f", tempo {self.bpm()}"))
        if not self.facts.instruments:
            return _finished(start + ", drums only")
        names = list(self.facts.instruments[:4]) + ([DRUMS.name] if self.facts.has_drums else [])
        ending = self.rng.choice((", with {}", ", played by {}", ". Instruments: {}", ". It is played by {}"))
        line = start + ending.format(_listed(names))
        return _finished(line + (", without drums" if self.facts.is_drumless and self.chance(0.2) else ""))

    def request(self) -> str:
        """What one would ask for: a style, a lead, a mood."""
        style = self.style()
        if not self.facts.instruments:
            return f"{style} drums only, {self.bpm()}"
        lead = self.facts.instruments[0]
        line = self.rng.choice(
            (
                f"{self.mood(style)} {style} with {lead}" if lead not in style else f"{self.mood(style)} {style}",
                f"{lead}, {style}, {self.mood(style)}",
                f"{self.speed(style)} {lead} {style}" if lead not in style else f"{self.speed(style)} {style}",
                f"{style} with {lead}, {self.speed(style)}" if lead not in style else style,
            )
        )
        return line.strip(" ,")


# A style that ends in one of these is a noun already; any other needs "piece" or the like after it.
_NOUNS = {
    *("piece", "music", "tune", "song", "beat", "beats", "groove", "ballad", "waltz", "march", "polka", "hymn", "air"),
    *("lullaby", "chorale", "jig", "reel", "hornpipe", "strathspey", "minuet", "serenade", "nocturne", "étude"),
    *("fanfare", "pattern", "arpeggio", "solo", "duo", "trio", "bossa", "samba", "tango"),
}


def _piece_word(style: str) -> str:
    return "" if style.split()[-1] in _NOUNS else " piece"


def _joined(adjectives: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(adjective for adjective in adjectives if adjective))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _with_article(phrase: str) -> str:
    starts_with_vowel = phrase[0].lower() in "aeiou8é" or phrase.startswith(("R&B", "11", "18"))
    one = phrase.startswith(("euro", "uni", "one"))
    return f"{'an' if starts_with_vowel and not one else 'a'} {phrase}"


def _finished(line: str) -> str:
    line = " ".join(line.split())
    return line[0].upper() + line[1:] + "."
