"""From phrases to a piece: every part's phrases are performed, put into the order of the form, filled and ended."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from starter_corpus.arrangement import Tempo
from starter_corpus.chords import Chord
from starter_corpus.form import Form, tonic_chord
from starter_corpus.labels import Labels, chord_labels
from starter_corpus.performance import MACHINE, draw_feel, draw_fill, last_chord, perform, with_crash, with_fill
from starter_corpus.score import SAMPLE_RATE_HZ, Note, Part, Score, shift
from starter_corpus.spans import Bars, Metre, Span

Phrase: TypeAlias = tuple[str, bool]
"""A phrase of a form: its letter, and whether it is closed."""

_CADENCE_BARS = 2
_RING_S = 1.5
_QUANTISED = {"electronic": 0.9, "disco": 0.6, "hip hop": 0.5, "pop": 0.4}
_USUALLY_QUANTISED = 0.25


@dataclass(frozen=True, kw_only=True)
class PhrasedPart:
    """A part without notes, and what it plays in each phrase, from tick 0 on."""

    part: Part
    played: Mapping[Phrase, tuple[Note, ...]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the parts of a piece share.

    Args:
        chords: of each phrase.
    """

    form: Form
    chords: Mapping[Phrase, Bars]
    tonic: int
    is_minor: bool
    metre: Metre
    tempo: Tempo
    genre: str

    @property
    def phrase_ticks(self) -> int:
        """The length of a phrase."""
        return self.form.phrase_bars * self.metre.bar_ticks


def tail_beats(form: Form | None, tempo: Tempo) -> int:
    """The beats after the last bar of a piece for which its notes ring: none unless it has an ending."""
    if form is None or not form.has_ending:
        return 0
    return -(-round(_RING_S * SAMPLE_RATE_HZ) // tempo.samples_per_beat)


def produce(parts: Sequence[PhrasedPart], setting: Setting, rng: random.Random) -> Score:
    """The score of a piece in a form.

    Most players are human, with a feel of their own. Drums may wait for the second phrase and a lead may pause for one,
    drums lead from phrase to phrase with a fill, and in an ending all hold the tonic chord.
    """
    form, ticks = setting.form, setting.phrase_ticks
    is_machine = rng.random() < _QUANTISED.get(setting.genre, _USUALLY_QUANTISED)
    has_fills = form.phrase_bars >= 4 and rng.random() < 0.8
    fill = draw_fill(rng, setting.metre)
    drums_from = 1 if len(form.letters) >= 3 and len(parts) >= 3 and rng.random() < 0.15 else 0
    pause = rng.randrange(len(form.letters)) if len(form.letters) >= 3 and rng.random() < 0.3 else None
    made = []
    for number, phrased in enumerate(parts):
        part = phrased.part
        feel = MACHINE if is_machine else draw_feel(rng, part.role)
        seed = rng.getrandbits(32)
        notes: list[Note] = []
        for place, phrase in enumerate(form.phrases):
            if (part.is_drums and place < drums_from) or (part.role == "lead" and place == pause and number > 0):
                continue
            played = _returning(phrased.played, phrase, setting)
            if part.is_drums and has_fills:
                if place > drums_from:
                    played = with_crash(played)
                if place < len(form.letters) - 1 or form.has_ending:
                    played = with_fill(played, fill, ticks)
            played = perform(played, feel, setting.tempo.samples_per_beat, ticks, seed)
            notes += shift(played, place * ticks)
        if notes:
            made.append(replace(part, notes=tuple(sorted(notes))))
    if form.has_ending:
        made = [_ended(part, setting) for part in made]
    return Score(
        parts=tuple(made),
        samples_per_beat=setting.tempo.samples_per_beat,
        beats_per_bar=setting.metre.beats_per_bar,
        num_bars=form.num_bars,
        tail_beats=tail_beats(form, setting.tempo),
    )


def labels_of(setting: Setting, *, has_chords: bool) -> Labels:
    """The labels of a piece in a form; the ending belongs to the last section."""
    phrases = setting.form.phrases
    bars = [bar for phrase in phrases for bar in setting.chords[phrase]]
    if setting.form.has_ending:
        bars.append((tonic_chord(setting.tonic, setting.is_minor),))
    return Labels(
        chords=tuple(chord_labels(bars, setting.metre.bar_ticks)) if has_chords else (),
        sections=tuple((letter, place * setting.phrase_ticks) for place, (letter, _) in enumerate(phrases)),
    )


def power_chords(notes: Sequence[Note], spans: Sequence[Span]) -> tuple[Note, ...]:
    """The notes with root, fifth and octave instead of whole chords, which distortion turns into noise."""
    strokes: dict[int, list[Note]] = {}
    for note in notes:
        strokes.setdefault(note.onset // 60, []).append(note)
    made = []
    for stroke in strokes.values():
        first = min(stroke)
        if len(stroke) < 3:
            made += stroke
            continue
        span = next((span for span in reversed(spans) if span.onset <= first.onset + 60), spans[0])
        made += [replace(first, pitch=pitch) for pitch in (span.root(40), span.fifth(40), span.root(40) + 12)]
    return tuple(sorted(made))


def _returning(played: Mapping[Phrase, tuple[Note, ...]], phrase: Phrase, setting: Setting) -> tuple[Note, ...]:
    """A phrase as it was first played, but for the bars of its cadence."""
    open_phrase = (phrase[0], False)
    if open_phrase not in played:
        return played[phrase]
    cadence = setting.phrase_ticks - _CADENCE_BARS * setting.metre.bar_ticks
    before = [note for note in played[open_phrase] if note.onset < cadence]
    return (*before, *(note for note in played[phrase] if note.onset >= cadence))


def _ended(part: Part, setting: Setting) -> Part:
    chord: Chord = tonic_chord(setting.tonic, setting.is_minor)
    end = len(setting.form.letters) * setting.phrase_ticks
    before = [replace(note, length=min(note.length, end - note.onset)) for note in part.notes]
    return replace(part, notes=(*before, *last_chord(part, chord, end, setting.metre.bar_ticks)))
