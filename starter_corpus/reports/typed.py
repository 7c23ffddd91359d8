"""Does the starter follow prompts as people type them? Short prompts, their measurable claims, and the share fulfilled.

A prompt makes several claims ("a slow sad piano piece": a piano, few onsets, a minor key). Each is scored separately
and compared with how often the clips of the other prompts fulfil it, which is chance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from descant import api
from descant.audio import Clip
from descant.data.manifest import read_manifest
from descant.evaluation import musical
from descant.evaluation.embedders import MusicTagger
from descant.evaluation.instruments import FamilyThreshold
from descant.evaluation.report import (
    markdown_table,
    mean_with_interval,
    paired_difference,
    rate_with_interval,
    write_report_json,
)
from descant.generation.request import Request
from starter_corpus.reports.measures import ClipMeasures, mean, measure_clip, tagger_thresholds
from starter_corpus.reports.prompts import DURATION_S, claim_folder, draw_crops, generate_missing, read_crop

NUM_PACE_CLIPS = 100


@dataclass(frozen=True, kw_only=True)
class TypedPrompt:
    """A prompt and its claims. ``pace`` is implied by its words; ``bpm`` is set if it states a tempo and has drums."""

    text: str
    families: tuple[str, ...] = ()
    pace: Literal["slow", "fast"] | None = None
    mode: Literal["major", "minor"] | None = None
    bpm: float | None = None


PROMPTS = (
    TypedPrompt(text="a slow sad piano piece", families=("piano",), pace="slow", mode="minor"),
    TypedPrompt(text="upbeat bossa nova with guitar", families=("guitar",), pace="fast"),
    TypedPrompt(text="happy ragtime piano", families=("piano",), pace="fast", mode="major"),
    TypedPrompt(text="slow romantic strings", families=("strings",), pace="slow"),
    TypedPrompt(text="energetic rock with electric guitar and drums", families=("guitar", "drums"), pace="fast"),
    TypedPrompt(text="techno with a driving beat, 130 bpm", families=("drums",), pace="fast", bpm=130.0),
    TypedPrompt(text="calm solo harp", families=("harp",), pace="slow"),
    TypedPrompt(text="jazz with piano, upright bass and drums", families=("piano", "drums")),
    TypedPrompt(text="a jolly Irish jig on the flute", families=("flute",), pace="fast"),
    TypedPrompt(text="a sad slow cello melody", families=("strings",), pace="slow", mode="minor"),
    TypedPrompt(text="gentle acoustic guitar lullaby", families=("guitar",), pace="slow", mode="major"),
    TypedPrompt(text="a solemn choir", families=("choir",), pace="slow"),
    TypedPrompt(text="disco with drums and bass, 120 bpm", families=("drums",), pace="fast", bpm=120.0),
    TypedPrompt(text="mellow hip hop beat, 90 bpm", families=("drums",), bpm=90.0),
    TypedPrompt(text="dark synth music in a minor key", families=("synth",), mode="minor"),
    TypedPrompt(text="fast bluegrass guitar", families=("guitar",), pace="fast", mode="major"),
    TypedPrompt(text="reggae with guitar and drums", families=("guitar", "drums")),
    TypedPrompt(text="a peaceful flute tune in a major key", families=("flute",), mode="major"),
    TypedPrompt(text="string quartet, baroque", families=("strings",)),
    TypedPrompt(text="lively samba with percussion", families=("drums",), pace="fast"),
)


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    thresholds_file: Path,
    seeds: Sequence[int] = (0, 1, 2),
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, also written to ``out_dir`` as typed.json and typed.md, with the clips in a subfolder.

    An interrupted run continues: clips that exist are not generated again.

    Args:
        thresholds_file: the tagger's thresholds; calibrated and stored there if it does not exist.

    Raises:
        DataError: the manifest is broken, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    music = api.load(model)
    seeded = [(prompt, seed) for prompt in PROMPTS for seed in seeds]
    claim_folder(out_dir, music.fingerprint, [prompt for prompt, _ in seeded])
    tagger = MusicTagger.load()
    thresholds = tagger_thresholds(tagger, manifest, thresholds_file, 0, progress)
    crops = draw_crops(read_manifest(manifest, split="train"), NUM_PACE_CLIPS, 0)
    onset_rates = [musical.onsets_per_second(read_crop(record.path, offset_s)) for record, offset_s in crops]
    median_onsets = float(np.median(onset_rates))
    requests = [Request(text=prompt.text, duration_s=DURATION_S, seed=seed) for prompt, seed in seeded]
    files = generate_missing(music.generate, requests, out_dir / "clips", progress)
    progress("analysing the clips of the typed prompts")
    clips = [Clip.read(file) for file in files]
    measured = [(measure_clip(clip, tagger), musical.estimate_key(clip)) for clip in clips]
    by_prompt = [measured[start : start + len(seeds)] for start in range(0, len(measured), len(seeds))]
    report = {
        "model": model,
        "model_fingerprint": music.fingerprint,
        "num_seeds": len(seeds),
        "median_onsets_per_second": median_onsets,
        **typed_report(PROMPTS, by_prompt, thresholds, median_onsets),
    }
    write_report_json(report, out_dir / "typed.json")
    (out_dir / "typed.md").write_text(markdown(report), encoding="utf-8")
    return report


def typed_report(
    prompts: Sequence[TypedPrompt],
    measured: Sequence[Sequence[tuple[ClipMeasures, str | None]]],
    thresholds: Mapping[str, FamilyThreshold],
    median_onsets: float,
) -> dict[str, Any]:
    """The share of the prompts' claims that is fulfilled: in all, by kind, by prompt, and with prompts shuffled.

    The clips of one prompt are not independent, so their mean is one observation, and prompts are resampled.

    Args:
        measured: for each prompt the measures and the estimated key of each of its clips.
    """
    reliable = {family: threshold.score for family, threshold in thresholds.items() if threshold.is_reliable}

    def share_by_kind(prompt: TypedPrompt, clips: Sequence[tuple[ClipMeasures, str | None]]) -> dict[str, float]:
        scores = [claims_fulfilled(prompt, *clip, reliable, median_onsets) for clip in clips]
        return {kind: mean([claims[kind] for claims in scores]) for kind in (scores[0] if scores else ())}

    own, others = [], []
    for prompt, clips in zip(prompts, measured, strict=True):
        own.append(share_by_kind(prompt, clips))
        other_clips = [
            clip for other, theirs in zip(prompts, measured, strict=True) if other != prompt for clip in theirs
        ]
        others.append(share_by_kind(prompt, other_clips))
    scored = [index for index, shares in enumerate(own) if shares]
    matched = [mean(list(own[index].values())) for index in scored]
    shuffled = [mean(list(others[index].values())) for index in scored]
    kinds = sorted({kind for shares in own for kind in shares})
    return {
        "fulfilled": mean_with_interval(matched),
        "fulfilled_shuffled": mean_with_interval(shuffled),
        "difference": paired_difference(matched, shuffled),
        "more_than_half": rate_with_interval(sum(share > 0.5 for share in matched), len(matched)),
        "by_kind": {
            kind: {
                "fulfilled": mean([shares[kind] for shares in own if kind in shares]),
                "shuffled": mean([shares[kind] for shares in others if kind in shares]),
            }
            for kind in kinds
        },
        "by_prompt": {prompts[index].text: share for index, share in zip(scored, matched, strict=True)},
    }


def claims_fulfilled(
    prompt: TypedPrompt, clip: ClipMeasures, key: str | None, thresholds: Mapping[str, float], median_onsets: float
) -> dict[str, float]:
    """The fulfilled share of each kind of claim that the prompt makes.

    A fast clip has more onsets than the median one, a slow clip fewer. Families without a threshold are not scored.
    """
    claims: dict[str, float] = {}
    families = [family for family in prompt.families if family in thresholds]
    if families:
        claims["instrument"] = mean([clip.scores[family] > thresholds[family] for family in families])
    if prompt.pace is not None:
        claims["pace"] = float((clip.onsets_per_second > median_onsets) == (prompt.pace == "fast"))
    if prompt.mode is not None:
        claims["mode"] = float(key is not None and key.endswith(prompt.mode))
    if prompt.bpm is not None:
        claims["tempo"] = float(musical.tempo_match(clip.tempo_bpm, prompt.bpm) == "same")
    return claims


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    rows = [
        ["all claims", report["fulfilled"], report["fulfilled_shuffled"]],
        *([kind, f"{rates['fulfilled']:.2f}", f"{rates['shuffled']:.2f}"] for kind, rates in report["by_kind"].items()),
        ["difference to another prompt", report["difference"], ""],
        ["prompts with more than half of their claims fulfilled", report["more_than_half"], ""],
    ]
    return (
        f"# What {report['model']} does with {len(report['by_prompt'])} typed prompts\n\n"
        f"{report['num_seeds']} clips of each.\n\n"
        + markdown_table(["claim", "share fulfilled", "with another prompt"], rows)
        + "\n"
        + markdown_table(["prompt", "share"], [[text, f"{share:.2f}"] for text, share in report["by_prompt"].items()])
    )
