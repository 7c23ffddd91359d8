"""The data card: where the corpus comes from, under which licences, and what is in it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_HEAD = """# Data card: the starter corpus

Synthetic music with captions that are true by construction: every piece is a score of which genre, instruments, tempo,
key and metre are known, played by a sampler. It holds no recording of anyone's performance.

## Sources and licences

| source | what of it is here | licence |
|---|---|---|
| Musical MIDI Accompaniment (`mma`) and its groove library | the program plays our own chord progressions in its styles; the MIDI it writes for them is ours; no file of the program or its library is copied | GPL-2 or later (program and library) |
| O'Neill's Music of Ireland (1903), Ryan's Mammoth Collection (1883), Aird's Airs (from 1778), as ABC in music21's corpus | melodies, transposed, re-orchestrated and accompanied | public domain (tunes); transcriptions distributed with music21 |
| J. S. Bach, four-part chorales, in music21's corpus | all four voices, transposed and re-orchestrated | public domain |
| our own chord progressions, textures and melodies | solos, duos, melodies over grooves | as this repository |
| FluidR3 GM soundfont | every sound | MIT |

Left out on purpose: music21's `essenFolksong` (non-commercial) and `palestrina` (rights reserved).

## How it was made

Each piece lasts 20 to 32 seconds and starts at once; mono, 32 kHz, 16 bit, -20 dB rms or a peak of 0.97. Chorus and
reverb are off. Seven in ten pieces are beat-locked: a beat is a whole number of 20 ms frames (3000 / n beats per
minute), and a loop repeats sample for sample. A caption names an instrument only where it is heard in at least eight
of ten crops of ten seconds. The split is decided by the source: no groove file and no tune of `valid` occurs in
`train`; chord progressions of `valid` are used in `train` by no groove piece.

## Limits

General MIDI sounds: no singing with words, no real room, no live playing. Western scales; the folk tunes are Irish,
Scottish and American. Mood words follow from mode, tempo and genre by rule, not from listeners.
"""  # noqa: E501


def card_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The card of a corpus, with its figures."""
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
