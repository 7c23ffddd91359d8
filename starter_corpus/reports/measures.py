"""What independent estimators find in a clip, and how it agrees with the prompts: tempo and instrument families.

Each share comes with what chance gives: the same share with prompts and clips shuffled.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant.atomic import write_atomically
from descant.audio import Clip
from descant.config import from_dict, to_dict
from descant.data.manifest import read_manifest
from descant.errors import InvalidRequest
from descant.evaluation import instruments, musical
from descant.evaluation.embedders import MusicTagger
from descant.evaluation.instruments import FamilyThreshold, family_scores
from descant.evaluation.report import mean_with_interval, paired_difference, rate_with_interval
from starter_corpus.reports.prompts import FAMILY_OF, Prompt, draw_crops, read_crop

NUM_CALIBRATION_CLIPS = 600


@dataclass(frozen=True)
class ClipMeasures:
    """Estimates from the audio of one clip; ``scores`` are the tagger's, by instrument family."""

    tempo_bpm: float | None
    scores: Mapping[str, float]
    flatness: float | None
    onsets_per_second: float


def measure_clip(clip: Clip, tagger: MusicTagger) -> ClipMeasures:
    """Tempo, instrument scores, flatness and onset rate of a clip."""
    return ClipMeasures(
        tempo_bpm=musical.estimate_tempo_bpm(clip),
        scores=family_scores(tagger.tag(clip)),
        flatness=musical.spectral_flatness(clip),
        onsets_per_second=musical.onsets_per_second(clip),
    )


def tempo_report(prompts: Sequence[Prompt], clips: Sequence[ClipMeasures]) -> dict[str, Any]:
    """Of the prompts that state a tempo and have drums, the share whose clips match it, are off by an octave, or other.

    Raises:
        InvalidRequest: fewer than two prompts state a tempo and have drums.
    """
    pairs = [
        (prompt.bpm, clip.tempo_bpm)
        for prompt, clip in zip(prompts, clips, strict=True)
        if prompt.bpm and prompt.has_drums
    ]
    if len(pairs) < 2:
        raise InvalidRequest(f"{len(pairs)} prompts state a tempo and have drums: at least two are needed")
    matches = Counter(musical.tempo_match(estimate, target) for target, estimate in pairs)
    shuffled = [
        mean([musical.tempo_match(estimate, target) == "same" for j, (target, _) in enumerate(pairs) if j != i])
        for i, (_, estimate) in enumerate(pairs)
    ]
    return {
        "within_5_percent": rate_with_interval(matches["same"], len(pairs)),
        "octave_errors": rate_with_interval(matches["double"] + matches["half"], len(pairs)),
        "within_5_percent_shuffled": mean_with_interval(shuffled),
        "matches": dict(matches),
    }


def instrument_report(
    prompts: Sequence[Prompt], clips: Sequence[ClipMeasures], thresholds: Mapping[str, FamilyThreshold]
) -> dict[str, Any]:
    """How often the families that a prompt names are recognised in its clip, and how often those of the other prompts.

    A clip counts with the share of its prompt's families that are recognised, so that clips are what is resampled.

    Raises:
        InvalidRequest: fewer than two prompts name a family that the tagger recognises reliably.
    """
    reliable = {family: threshold.score for family, threshold in thresholds.items() if threshold.is_reliable}
    scored = [
        (named, {family: clip.scores[family] > score for family, score in reliable.items()})
        for prompt, clip in zip(prompts, clips, strict=True)
        if (named := [family for family in prompt.families if family in reliable])
    ]
    if len(scored) < 2:
        raise InvalidRequest(
            f"{len(scored)} prompts name a family that the tagger recognises reliably: at least two are needed"
        )
    matched = [mean([hits[family] for family in named]) for named, hits in scored]
    shuffled = [
        mean([mean([hits[family] for family in named]) for j, (named, _) in enumerate(scored) if j != i])
        for i, (_, hits) in enumerate(scored)
    ]
    return {
        "recognised": mean_with_interval(matched),
        "recognised_shuffled": mean_with_interval(shuffled),
        "difference": paired_difference(matched, shuffled),
        "by_family": {family: _family_rate(family, scored) for family in reliable},
    }


def tagger_thresholds(
    tagger: MusicTagger, manifest: Path, file: Path, seed: int, progress: Callable[[str], None]
) -> dict[str, FamilyThreshold]:
    """Each family's threshold, from ``file`` or, if that does not exist, calibrated on training clips and stored there.

    Raises:
        DataError: the manifest is broken or has no training clips.
    """
    if not file.exists():
        progress(f"calibrating the tagger on {NUM_CALIBRATION_CLIPS} training clips")
        clips = draw_crops(read_manifest(manifest, split="train"), NUM_CALIBRATION_CLIPS, seed)
        scores = [family_scores(tagger.tag(read_crop(record.path, offset_s))) for record, offset_s in clips]
        present = [{FAMILY_OF.get(name, name) for name in record.tags["instrument"]} for record, _ in clips]
        found = instruments.calibrate(scores, present)
        write_atomically(file, json.dumps({name: to_dict(value) for name, value in found.items()}, indent=2).encode())
    stored = json.loads(file.read_text(encoding="utf-8"))
    return {name: from_dict(FamilyThreshold, value, name) for name, value in stored.items()}


def _family_rate(family: str, scored: Sequence[tuple[list[str], dict[str, bool]]]) -> dict[str, Any] | None:
    hits = [recognised[family] for named, recognised in scored if family in named]
    return asdict(rate_with_interval(sum(hits), len(hits))) if hits else None


def mean(values: Sequence[float | bool]) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))
