"""Captions: one description in many wordings, from tags to sentences, none saying more than the description."""

import random
import re
from collections.abc import Callable, Sequence

from starter_corpus.description import PieceDescription, matching_styles, spell_genre, tempo_words
from starter_corpus.instruments import DRUMS

NUM_CAPTIONS = 6


def captions(piece: PieceDescription, rng: random.Random) -> tuple[str, ...]:
    """Up to six different captions of a piece, short and long ones mixed."""
    writer = _CaptionWriter(piece, rng)
    makers: list[Callable[[], str]] = [
        writer.tags,
        writer.tags,
        writer.label,
        writer.sentence,
        writer.sentence,
        writer.players,
        writer.full,
        writer.request,
        writer.full,
        writer.tags,
    ]
    made: dict[str, None] = {}
    for _ in range(4):
        for maker in makers[: NUM_CAPTIONS + 2]:
            made.setdefault(" ".join(maker().split()))
            if len(made) == NUM_CAPTIONS:
                return tuple(made)
    return tuple(made)


class _CaptionWriter:
    """Words the description; every call draws which properties it mentions, and how."""

    def __init__(self, piece: PieceDescription, rng: random.Random) -> None:
        self.piece = piece
        self.rng = rng
        self.styles = matching_styles(piece)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def style(self) -> str:
        if self.piece.genre not in ("world", "show") and self.chance(0.2):
            return spell_genre(self.piece.genre)
        return self.rng.choice(self.styles)

    def noun(self, style: str) -> str:
        """A noun phrase for the piece: a drum beat, or the style, with "piece" or the like where it needs a noun."""
        if not self.piece.instruments:
            return style if "beat" in style else self.rng.choice((f"{style} drum beat", f"{style} beat"))
        if style.split()[-1] in _NOUNS:
            return style
        return f"{style} {self.rng.choice(('piece', 'piece', 'tune', 'track'))}"

    def mood(self, style: str) -> str:
        """A mood word that is not part of the style's name."""
        moods = [mood for mood in self.piece.moods[:4] if mood not in style]
        return self.rng.choice(moods) if moods else ""

    def tempo(self, style: str) -> str:
        """A word for the tempo, unless the style's name has one."""
        if re.search(r"\b(slow|fast|up-tempo|mid-tempo|lively|hot|lazy)\b", style):
            return ""
        return self.rng.choice(tempo_words(self.piece.bpm, self.piece.metre))

    def bpm(self) -> str:
        return self.rng.choice(("{} bpm", "{} BPM", "{} bpm")).format(round(self.piece.bpm))

    def metre(self, style: str) -> str:
        """The metre in words, unless the style's name implies it."""
        metre = self.piece.metre
        if "/" in style or "waltz" in style or metre == "2/2":
            return ""
        if metre == "3/4":
            return self.rng.choice(("in 3/4", "in waltz time", "in 3/4 time"))
        return self.rng.choice((f"in {metre}", f"in {metre} time"))

    def mentions_metre(self) -> bool:
        return self.chance(0.08 if self.piece.metre == "4/4" else 0.45)

    def some_instruments(self, most: int) -> list[str]:
        """The first one to ``most`` instruments, beginning with the lead."""
        return list(self.piece.instruments[: self.rng.randint(1, most)])

    def band(self, most: int) -> str:
        names = self.some_instruments(most)
        if self.piece.has_drums and self.chance(0.6):
            names.append(DRUMS.name)
        return _listed(names)

    def drums(self) -> str:
        if self.piece.is_drumless and self.chance(0.25):
            return self.rng.choice(("no drums", "without drums"))
        return ""

    def tags(self) -> str:
        """Comma-separated tags: the style first, the rest in random order."""
        style = self.style()
        rest = []
        if self.chance(0.8):
            rest += [name for name in self.some_instruments(3) if name not in style]
        if self.piece.has_drums and (self.chance(0.35) or not self.piece.instruments):
            rest.append(DRUMS.name)
        if self.chance(0.4):
            rest.append(self.mood(style))
        if self.chance(0.55):
            rest.append(self.bpm())
        if self.chance(0.35):
            rest.append(self.tempo(style))
        if self.piece.key and self.chance(0.3):
            rest.append(self.piece.key)
        if self.mentions_metre():
            rest.append(self.metre(style).removeprefix("in "))
        if self.chance(0.4):
            rest.append(self.drums())
        self.rng.shuffle(rest)
        return ", ".join(dict.fromkeys(word for word in [style, *rest] if word))

    def label(self) -> str:
        """A few words, as someone in a hurry types them."""
        style = self.style()
        words = [self.tempo(style) if self.chance(0.4) else "", self.mood(style) if self.chance(0.5) else ""]
        name = style if self.piece.instruments and self.chance(0.5) else self.noun(style)
        return " ".join(word for word in [*dict.fromkeys(words), name] if word)

    def sentence(self) -> str:
        """One sentence."""
        style = self.style()
        adjectives = [self.tempo(style) if self.chance(0.6) else "", self.mood(style) if self.chance(0.7) else ""]
        start = _with_article(f"{_joined(adjectives)} {self.noun(style)}".strip())
        if self.piece.instruments and not all(name in style for name in self.piece.instruments):
            start += self.rng.choice((" with ", " for ", " played by ", " featuring ")) + self.band(3)
        if self.piece.key and self.chance(0.5):
            start += f" in {self.piece.key}"
        if self.mentions_metre():
            start += f" {self.metre(style)}"
        if self.chance(0.3):
            start += f" at {self.bpm()}"
        return _finished(start)

    def players(self) -> str:
        """The players, then the style."""
        style = self.style()
        if not self.piece.instruments:
            return _finished(f"drums playing {_with_article(self.noun(style))} at {self.bpm()}")
        names = self.some_instruments(4)
        if len(self.piece.instruments) == 1 and self.piece.is_drumless and self.chance(0.6):
            names = [f"solo {names[0]}"]
        verb = self.rng.choice(("playing", "in", "-"))
        adjective = self.mood(style) if self.chance(0.6) else self.tempo(style)
        noun = f"{adjective} {style}".strip()
        line = _listed(names) + (f", {noun}" if verb == "-" else f" {verb} {_with_article(noun + _piece_word(style))}")
        if self.piece.has_drums and self.chance(0.5):
            line += " with drums"
        elif self.drums():
            line += ", no drums"
        return _finished(line)

    def full(self) -> str:
        """Most of the description in one or two sentences."""
        style = self.style()
        start = _with_article(f"{_joined([self.tempo(style), self.mood(style)])} {self.noun(style)}".strip())
        if self.piece.key:
            start += f" in {self.piece.key}"
        if self.mentions_metre() or self.piece.metre not in ("4/4", "2/2"):
            start += f" {self.metre(style)}"
        start += self.rng.choice((f" at {self.bpm()}", f", around {self.bpm()}", f", tempo {self.bpm()}"))
        if not self.piece.instruments:
            return _finished(start + ", drums only")
        names = list(self.piece.instruments[:4]) + ([DRUMS.name] if self.piece.has_drums else [])
        ending = self.rng.choice((", with {}", ", played by {}", ". Instruments: {}", ". It is played by {}"))
        line = start + ending.format(_listed(names))
        return _finished(line + (", without drums" if self.piece.is_drumless and self.chance(0.2) else ""))

    def request(self) -> str:
        """A request: a style, a lead and a mood or tempo."""
        style = self.style()
        if not self.piece.instruments:
            return f"{style} drums only, {self.bpm()}"
        lead = self.piece.instruments[0]
        line = self.rng.choice(
            (
                f"{self.mood(style)} {style} with {lead}" if lead not in style else f"{self.mood(style)} {style}",
                f"{lead}, {style}, {self.mood(style)}",
                f"{self.tempo(style)} {lead} {style}" if lead not in style else f"{self.tempo(style)} {style}",
                f"{style} with {lead}, {self.tempo(style)}" if lead not in style else style,
            )
        )
        return line.strip(" ,")


# A style that ends in one of these is a noun; others need "piece" or the like after them.
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
