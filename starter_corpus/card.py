"""The data card: sources, licences, method and figures of the corpus."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_HEAD = """# Data card: the starter corpus

Synthetic music with captions that are true by construction: every piece is a score with known genre, instruments,
tempo, key and metre, rendered by a sampler. It contains no recordings of performances.

## Sources and licences

| source | use | licence |
|---|---|---|
| Musical MIDI Accompaniment (`mma`) and its groove library | the program plays our chord progressions in its styles; the MIDI files it writes for them are ours; no file of the program or its library is copied | GPL-2 or later (program and library) |
| O'Neill's Music of Ireland (1903), Ryan's Mammoth Collection (1883), Aird's Airs (from 1778), as ABC in music21's corpus | melodies, transposed, re-orchestrated and accompanied | public domain (tunes); transcriptions distributed with music21 |
| J. S. Bach, four-part chorales, in music21's corpus | all four voices, transposed and re-orchestrated | public domain |
| our own chord progressions, textures and melodies | solos, duos, melodies over grooves | that of this repository |
| FluidR3 GM soundfont | sounds | MIT |
| MuseScore General soundfont 0.2.1 | sounds of half of the pieces | MIT; samples by others than its authors are public domain or CC0 |
| `sox` | the program is the amplifiers and rooms; no file of it is copied | GPL-2 or later |

Left out on purpose: music21's `essenFolksong` (non-commercial) and `palestrina` (rights reserved).

## How it was made

Each piece lasts 20 to 50 seconds and begins without silence; mono, 32 kHz, 16 bit, -20 dB rms or a peak of 0.97. 90 %
of the pieces are beat-locked: a beat is a whole number of 20 ms frames (3000 / n beats per minute). Most have a form:
phrases of four or eight bars that return, with cadences, fills and endings; a loop repeats sample for sample. Tags name
the chords and sections with their seconds, the first beat and the first bar. A caption names an instrument only if it is audible in at least 80 %
of the ten-second crops. The split follows the source: no groove file and no tune of `valid` occurs in `train`, and no
groove piece of `train` uses a chord progression of `valid`.

## Limits

General MIDI sounds, amplifiers and rooms by rule: no sung words, no live performance. Western scales; the folk tunes are Irish,
Scottish and American. Mood words are derived from mode, tempo and genre by rule, not from listeners.
"""  # noqa: E501


def card_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The data card of a corpus, with its figures."""
    records = list(records)
    if not records:
        return _HEAD
    hours = sum(record["duration_s"] for record in records) / 3600
    tags = [record["tags"] for record in records]
    locked = sum(tag["beat_locked"] for tag in tags) / len(tags)
    drums = sum(tag["has_drums"] for tag in tags) / len(tags)
    captions = [caption for record in records for caption in record["captions"]]
    words = sum(len(caption.split()) for caption in captions) / len(captions)
    lines = [
        "## Figures",
        "",
        f"{len(records):,} pieces, {hours:.1f} hours; {len(captions):,} captions ({len(set(captions)):,} different, "
        f"{words:.1f} words on average); {locked:.0%} beat-locked, {drums:.0%} with drums; "
        f"{len({tag['source'] for tag in tags}):,} sources.",
        "",
        *_table("split", [record["split"] for record in records]),
        *_table("kind of source", [tag["source"].split(":")[0] for tag in tags]),
        *_table("genre", [tag["genre"] for tag in tags]),
        *_table("instrument", [name for tag in tags for name in tag["instrument"]]),
        *_table("metre", [tag["metre"] for tag in tags]),
        *_table("mode", [tag["key"].split()[1] if tag["key"] else "none stated" for tag in tags]),
        *_table("tempo (beats per minute)", [_tempo_class(tag["bpm"]) for tag in tags]),
    ]
    return _HEAD + "\n" + "\n".join(lines)


def _tempo_class(bpm: float) -> str:
    low = int(bpm // 20 * 20)
    return f"{low} to {low + 20}"


def _table(name: str, values: Sequence[str]) -> list[str]:
    rows = [f"| {value} | {count:,} |" for value, count in Counter(values).most_common()]
    return [f"| {name} | pieces |", "|---|---|", *rows, ""]
