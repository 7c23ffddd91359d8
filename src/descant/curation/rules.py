"""What is wrong with single clips: their signal, their captions, and how these fit together."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from descant.curation.analysis import Analysis
from descant.curation.key import Key
from descant.curation.levels import Levels
from descant.curation.problems import Finding
from descant.curation.tags import VOICE_CONFIDENCE, voice
from descant.curation.tempo import Tempo, is_related
from descant.data.licences import licence_of
from descant.data.manifest import ClipRecord
from descant.evaluation.agreement import key_fit
from descant.tempo_key import TempoKey, parse_tempo_key

SILENCE_DB = -60.0
MAX_SILENT_SHARE, MIN_SILENCE_S = 0.25, 2.0
"""Staccato music has much silence too, but not at a time."""
MAX_CLIPPED_SHARE = 3e-4
"""The crests of smooth waves reach 1e-4."""
MAX_OFFSET = 0.03
"""Sampled drums and synthesisers have up to 0.02 of their own."""
MIN_CORRELATION = -0.7
MIN_BANDWIDTH_HZ = 10_500.0
MID_SOUND_DB = -12.0
"""Relative to the mean level: what rings out or fades is below."""
RARE_SHARE, MIN_CLIPS = 0.1, 10
"""Clips that end in mid-sound are faulty if fewer than this share does, of at least ``MIN_CLIPS``."""

MAX_WORDS = 150
CONSTANT_SHARE, MIN_CONSTANT = 0.2, 5
"""A caption is constant if at least this many clips, and this share of those with captions, have nothing else."""

MIN_TEMPO_CONFIDENCE, MIN_KEY_CONFIDENCE = 0.9, 0.95
TEMPO_TOLERANCE = 0.06
"""Of the tempo or one that is related to it: these are confused, and no contradiction."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the training run will use; None skips the check.

    Args:
        segment_s: length of a training crop.
        sample_rate_hz: sample rate of the codec.
    """

    segment_s: float | None = None
    sample_rate_hz: int | None = None


def signal_findings(record: ClipRecord, analysis: Analysis, settings: Settings) -> Iterator[Finding]:
    """What is wrong with the sound of a clip."""
    levels = analysis.levels
    if levels.level_db < SILENCE_DB:
        yield Finding("silent", record.path, f"{levels.level_db:.0f} dB")
        return
    for problem, detail in _level_problems(levels):
        yield Finding(problem, record.path, detail)
    if analysis.tags is not None and (confidence := voice(analysis.tags)) >= VOICE_CONFIDENCE:
        yield Finding("vocals", record.path, f"probability {confidence:.2f} (MusiCNN)")
    if settings.sample_rate_hz not in (None, levels.sample_rate_hz):
        yield Finding("other rate", record.path, f"{levels.sample_rate_hz} Hz")
    if settings.segment_s is not None and levels.duration_s < settings.segment_s:
        yield Finding("short", record.path, f"{levels.duration_s:.2f} s")


def _level_problems(levels: Levels) -> Iterator[tuple[str, str]]:
    if levels.silent_share > MAX_SILENT_SHARE and levels.longest_silence_s >= MIN_SILENCE_S:
        yield "mostly silent", f"{100 * levels.silent_share:.0f} % of it, up to {levels.longest_silence_s:.1f} s"
    if levels.clipped_share > MAX_CLIPPED_SHARE:
        yield "clipped", f"{100 * levels.clipped_share:.2g} % of the samples"
    if levels.dc_offset > MAX_OFFSET:
        yield "offset", f"{100 * levels.dc_offset:.1f} % of full scale"
    if levels.dead_channels:
        yield "dead channel", f"number {', '.join(map(str, levels.dead_channels))}, counted from 0"
    if levels.correlation is not None and levels.correlation < MIN_CORRELATION:
        yield "inverted channel", f"correlation {levels.correlation:.2f}"
    if levels.bandwidth_hz < MIN_BANDWIDTH_HZ:
        yield "low bandwidth", f"nothing above {levels.bandwidth_hz / 1_000:.1f} kHz"


def ending_findings(clips: Sequence[tuple[ClipRecord, Analysis]]) -> Iterator[Finding]:
    """Clips that end in mid-sound: faults if they are rare in the folder, else loops or excerpts."""
    ending = [pair for pair in clips if pair[1].levels.ending_db > MID_SOUND_DB]
    is_rare = len(clips) >= MIN_CLIPS and len(ending) < RARE_SHARE * len(clips)
    for record, analysis in ending:
        detail = f"{analysis.levels.ending_db:+.0f} dB in the last 30 ms, relative to what is before"
        yield Finding("cut off" if is_rare else "ends in mid-sound", record.path, detail)


def caption_findings(record: ClipRecord, has_empty_file: bool) -> Iterator[Finding]:
    """What is wrong with the words for a clip.

    Args:
        has_empty_file: whether there is a text file for the clip, but without words.
    """
    wordless = [text for text in record.captions if not any(letter.isalpha() for letter in text)]
    if wordless:
        yield Finding("empty caption", record.path, repr(wordless[0][:40]))
    elif has_empty_file and not record.captions:
        yield Finding("empty caption", record.path, "its text file has no words")
    elif not record.captions and not record.tags:
        yield Finding("without caption", record.path, "")
    longest = max((len(text.split()) for text in record.captions), default=0)
    if longest > MAX_WORDS:
        yield Finding("long caption", record.path, f"{longest} words")
    if licence_of(record.tags) is None:
        yield Finding("unknown licence", record.path, "")


def constant_findings(records: Sequence[ClipRecord]) -> Iterator[Finding]:
    """Clips whose captions are all those of many other clips."""
    folded = [{" ".join(text.lower().split()) for text in record.captions} for record in records]
    counts = Counter(text for texts in folded for text in texts)
    limit = max(MIN_CONSTANT, CONSTANT_SHARE * sum(map(bool, folded)))
    for record, texts in zip(records, folded, strict=True):
        if texts and all(counts[text] >= limit for text in texts):
            detail = f"{record.captions[0][:60]!r} is a caption of {max(counts[text] for text in texts)} clips"
            yield Finding("constant caption", record.path, detail)


def stated_tempo_key(record: ClipRecord) -> list[tuple[str, TempoKey]]:
    """Tempo and key of each caption, and those of the tags, with where they are stated."""
    of_tags = ", ".join(f"{name}: {record.tags[name]}" for name in ("bpm", "key") if name in record.tags)
    texts = [(f"the caption {text[:60]!r}", text) for text in record.captions] + [("its tags", of_tags)]
    return [(where, stated) for where, text in texts if (stated := parse_tempo_key(text)) != TempoKey()]


def contradictions(record: ClipRecord, analysis: Analysis) -> Iterator[Finding]:
    """The first stated tempo or key that is far from what is measured with confidence."""
    for where, stated in stated_tempo_key(record):
        if (
            reason := _tempo_contradiction(stated, analysis.tempo) or _key_contradiction(stated, analysis.key)
        ) is not None:
            yield Finding("contradiction", record.path, f"{where}: {reason}")
            return


def _tempo_contradiction(stated: TempoKey, tempo: Tempo | None) -> str | None:
    if stated.bpm is None or tempo is None or tempo.confidence_with_related < MIN_TEMPO_CONFIDENCE:
        return None
    if is_related(np.array([tempo.bpm / stated.bpm]), tolerance=TEMPO_TOLERANCE).any():
        return None
    probability = f"probability {tempo.confidence_with_related:.2f}"
    return f"{stated.bpm:g} bpm, measured {tempo.bpm:.1f} or a simple multiple or fraction with {probability}"


def _key_contradiction(stated: TempoKey, key: Key | None) -> str | None:
    if stated.key is None or key is None or key.confidence_with_relative < MIN_KEY_CONFIDENCE:
        return None
    if key_fit(key.name, stated) > 0 or _is_fifth_below(key.name, stated):
        return None
    return f"another key, measured {key.name} with probability {key.confidence:.2f}"


def _is_fifth_below(measured: str, stated: TempoKey) -> bool:
    """Whether the stated key is a fifth above the measured one, which is as close as a fifth below."""
    assert stated.key is not None
    turned = TempoKey(key=(stated.key % 12 + 5) % 12 + 12 * bool(stated.is_minor), is_minor=stated.is_minor)
    return key_fit(measured, turned) == 1.0
