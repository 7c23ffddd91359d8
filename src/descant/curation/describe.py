"""Measured tags of clips: tempo, key, instruments, genre and mood, each with its confidence and source."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from descant.curation.analysis import Analysis, Job, analyse_files
from descant.curation.tags import GENRE_TAGS, MOOD_TAGS, Word, instruments, words
from descant.curation.tempo import SHORTEST_S as MUSIC_SHORTEST_S
from descant.data.manifest import ClipRecord
from descant.data.measured import MeasuredTag, stated_names
from descant.evaluation.agreement import MOOD_WORDS
from descant.evaluation.embedders.musicnn_weights import INSTALL
from descant.evaluation.instruments import NAMED_FAMILIES, families_named
from descant.evaluation.instruments import SHORTEST_S as TAGS_SHORTEST_S

MIN_CONFIDENCE = 0.5
UNCERTAIN = "too uncertain"
"""The beginning of the reason for which a clip's value is left out."""
TEMPO_SOURCE = "autocorrelation of onsets (descant)"
KEY_SOURCE = "profiles of notes (descant)"
TAG_SOURCE = "MusiCNN, MagnaTagATune"

NAMES = ("bpm", "key", "instrument", "genre", "moods")
"""The tags that are measured."""
SYNONYMS = {"instrument": ("instrument_family",), "genre": ("style",), "moods": ("mood",), "bpm": ("tempo",)}
"""Other tags with which a person says the same."""
GENRE_WORDS = frozenset(
    {*GENRE_TAGS.values(), "blues", "folk", "funk", "hip hop", "house", "jazz", "latin", "lo-fi", "reggae"}
)
MOODS = frozenset(
    {*MOOD_TAGS.values(), *(word for of_mode in MOOD_WORDS.values() for word in of_mode), "calm", "energetic"}
)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What was measured of a clip, and the reasons for what is left out."""

    clip: Path
    measured: dict[str, MeasuredTag] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def describe_clips(
    records: Sequence[ClipRecord],
    *,
    has_tagger: bool,
    cache: Path | None = None,
    num_processes: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Described]:
    """The measured tags of each clip, without those that a person has stated.

    Args:
        records: with the captions and tags of people only.
        has_tagger: whether to name instruments, genre and mood, which needs the package ``musicnn``.

    Raises:
        MissingExtra: ``musicnn`` is needed and not installed.
    """
    jobs = [Job(record.path, needs_music=True) for record in records]
    analyses = analyse_files(jobs, has_tagger=has_tagger, cache=cache, num_processes=num_processes, progress=progress)
    return [
        describe(record, analysis, has_tagger=has_tagger)
        if isinstance(analysis, Analysis)
        else Described(clip=record.path, left_out=dict.fromkeys(NAMES, analysis.reason))
        for record, analysis in zip(records, analyses, strict=True)
    ]


def describe(record: ClipRecord, analysis: Analysis, *, has_tagger: bool = True) -> Described:
    """The measured tags of a clip that are certain enough and that its captions and tags do not state.

    Args:
        has_tagger: whether the tags of the analysis were wanted.
    """
    stated = stated_by_people(record)
    measured: dict[str, MeasuredTag] = {}
    left_out: dict[str, str] = {}
    for name, found in _found(analysis, has_tagger).items():
        if name in stated:
            left_out[name] = "stated in its description"
        elif isinstance(found, str):
            left_out[name] = found
        elif found.confidence < MIN_CONFIDENCE:
            left_out[name] = f"{UNCERTAIN}: {found.value} has a probability of {found.confidence:.2f} only"
        else:
            measured[name] = found
    return Described(clip=record.path, measured=measured, left_out=left_out)


def stated_by_people(record: ClipRecord) -> set[str]:
    """Which of ``NAMES`` the captions and tags of a clip state."""
    stated = stated_names(record.tags, record.captions)
    text = " ".join(record.captions).lower()
    return {
        *(name for name in NAMES if name in stated or stated.intersection(SYNONYMS.get(name, ()))),
        *["instrument"] * bool(families_named(text, {**NAMED_FAMILIES, "bass": "bass"})),
        *["genre"] * _has_word(text, GENRE_WORDS),
        *["moods"] * _has_word(text, MOODS),
    }


def _found(analysis: Analysis, has_tagger: bool) -> Mapping[str, MeasuredTag | str]:
    """Each of ``NAMES``, or why there is none."""
    tempo, key, tags = analysis.tempo, analysis.key, analysis.tags
    duration_s = analysis.levels.duration_s
    no_tempo, no_key = (
        f"shorter than {MUSIC_SHORTEST_S:g} s" if duration_s < MUSIC_SHORTEST_S else reason
        for reason in ("silent", "nothing has a pitch")
    )
    no_tags = "silent" if duration_s >= TAGS_SHORTEST_S else f"shorter than {TAGS_SHORTEST_S:g} s"
    if not has_tagger:
        no_tags = f"no tagger: {INSTALL}"
    unsure = "nothing is recognised with certainty"
    return {
        "bpm": no_tempo
        if tempo is None
        else MeasuredTag(value=round(tempo.bpm, 1), confidence=round(tempo.confidence, 3), source=TEMPO_SOURCE),
        "key": no_key
        if key is None
        else MeasuredTag(value=key.name, confidence=round(key.confidence, 3), source=KEY_SOURCE),
        "instrument": no_tags if tags is None else _several(instruments(tags)) or unsure,
        "genre": no_tags if tags is None else _best(words(tags, GENRE_TAGS)) or unsure,
        "moods": no_tags if tags is None else _several(words(tags, MOOD_TAGS)) or unsure,
    }


def _several(found: Sequence[Word]) -> MeasuredTag | None:
    """All of the words, with the confidence of the least certain."""
    if not found:
        return None
    confidence = min(word.confidence for word in found)
    return MeasuredTag(value=[word.word for word in found], confidence=round(confidence, 3), source=TAG_SOURCE)


def _best(found: Sequence[Word]) -> MeasuredTag | None:
    if not found:
        return None
    return MeasuredTag(value=found[0].word, confidence=round(found[0].confidence, 3), source=TAG_SOURCE)


def _has_word(text: str, names: frozenset[str]) -> bool:
    return re.search(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\b", text) is not None
