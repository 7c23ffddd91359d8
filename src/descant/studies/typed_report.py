"""Does the starter do what a person would type? Short prompts, what each says in judgeable terms, and how much came.

A prompt says several things ("a slow sad piano piece": a piano, few onsets, a minor key). Each is judged by itself, and
beside it stands how often the clips of the other prompts do the same, which is what chance gives.
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
from descant.studies.prompts import DURATION_S, claim_folder, draw_crops, generate_missing, read_crop
from descant.studies.starter_report import Heard, hear, tagger_thresholds

NUM_PACE_CLIPS = 100


@dataclass(frozen=True, kw_only=True)
class TypedPrompt:
    """A prompt and what it says; ``pace`` is slow or fast by its words, ``bpm`` where it gives a number and drums."""

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
    """The report, which is also written to ``out_dir`` as typed.json and typed.md, beside the clips it is about.

    Clips that are there from a run that was stopped are not generated again.

    Args:
        thresholds_file: where ``starter_report`` keeps the tagger's thresholds; it is written if it is not there.

    Raises:
        DataError: the manifest is broken, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    music = api.load(model)
    asked = [(prompt, seed) for prompt in PROMPTS for seed in seeds]
    claim_folder(out_dir, music.fingerprint, [prompt for prompt, _ in asked])
    tagger = MusicTagger.load()
    thresholds = tagger_thresholds(tagger, manifest, thresholds_file, 0, progress)
    train = read_manifest(manifest, split="train")
    median_onsets = float(
        np.median(
            [
                musical.onsets_per_second(read_crop(record.path, offset_s))
                for record, offset_s in draw_crops(train, NUM_PACE_CLIPS, 0)
            ]
        )
    )
    requests = [Request(text=prompt.text, duration_s=DURATION_S, seed=seed) for prompt, seed in asked]
    files = generate_missing(music.generate, requests, out_dir / "clips", progress)
    progress("listening to the clips of the typed prompts")
    clips = [Clip.read(file) for file in files]
    heard = [(hear(clip, tagger), musical.estimate_key(clip)) for clip in clips]
    by_prompt = [heard[start : start + len(seeds)] for start in range(0, len(heard), len(seeds))]
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
    heard: Sequence[Sequence[tuple[Heard, str]]],
    thresholds: Mapping[str, FamilyThreshold],
    median_onsets: float,
) -> dict[str, Any]:
    """The share of what the prompts say that is heard: in all, of each kind, by prompt; and with prompts shuffled.

    The clips of a prompt are no independent witnesses, so their mean is one observation, and prompts are resampled.

    Args:
        heard: for each prompt what was heard in each of its clips, and the clip's key.
    """
    reliable = {family: threshold.score for family, threshold in thresholds.items() if threshold.is_reliable}

    def share_by_kind(prompt: TypedPrompt, clips: Sequence[tuple[Heard, str]]) -> dict[str, float]:
        kept = [claims_kept(prompt, *clip, reliable, median_onsets) for clip in clips]
        return {kind: _mean([claims[kind] for claims in kept]) for kind in (kept[0] if kept else ())}

    own, others = [], []
    for prompt, clips in zip(prompts, heard, strict=True):
        own.append(share_by_kind(prompt, clips))
        elsewhere = [clip for other, theirs in zip(prompts, heard, strict=True) if other != prompt for clip in theirs]
        others.append(share_by_kind(prompt, elsewhere))
    judged = [index for index, shares in enumerate(own) if shares]
    matched = [_mean(list(own[index].values())) for index in judged]
    shuffled = [_mean(list(others[index].values())) for index in judged]
    kinds = sorted({kind for shares in own for kind in shares})
    return {
        "kept": mean_with_interval(matched),
        "kept_shuffled": mean_with_interval(shuffled),
        "difference": paired_difference(matched, shuffled),
        "more_kept_than_not": rate_with_interval(sum(share > 0.5 for share in matched), len(matched)),
        "by_kind": {
            kind: {
                "kept": _mean([shares[kind] for shares in own if kind in shares]),
                "shuffled": _mean([shares[kind] for shares in others if kind in shares]),
            }
            for kind in kinds
        },
        "by_prompt": {prompts[index].text: share for index, share in zip(judged, matched, strict=True)},
    }


def claims_kept(
    prompt: TypedPrompt, heard: Heard, key: str, score_of: Mapping[str, float], median_onsets: float
) -> dict[str, float]:
    """The share of each kind of thing that the prompt says which is heard.

    A fast clip has more onsets than the median one, a slow one fewer. Families without a score are not judged.
    """
    claims: dict[str, float] = {}
    families = [family for family in prompt.families if family in score_of]
    if families:
        claims["instrument"] = _mean([heard.scores[family] > score_of[family] for family in families])
    if prompt.pace is not None:
        claims["pace"] = float((heard.onsets_per_second > median_onsets) == (prompt.pace == "fast"))
    if prompt.mode is not None:
        claims["mode"] = float(key.endswith(prompt.mode))
    if prompt.bpm is not None:
        claims["tempo"] = float(musical.tempo_match(heard.tempo_bpm, prompt.bpm) == "same")
    return claims


def markdown(report: Mapping[str, Any]) -> str:
    """The report for readers."""
    rows = [
        ["all that the prompts say", report["kept"], report["kept_shuffled"]],
        *([kind, f"{rates['kept']:.2f}", f"{rates['shuffled']:.2f}"] for kind, rates in report["by_kind"].items()),
        ["difference to another prompt", report["difference"], ""],
        ["prompts of which more than half is heard", report["more_kept_than_not"], ""],
    ]
    return (
        f"# What {report['model']} does with {len(report['by_prompt'])} typed prompts\n\n"
        f"{report['num_seeds']} clips of each.\n\n"
        + markdown_table(["heard of", "share", "with another prompt"], rows)
        + "\n"
        + markdown_table(["prompt", "share"], [[text, f"{share:.2f}"] for text, share in report["by_prompt"].items()])
    )


def _mean(values: Sequence[float | bool]) -> float:
    return float(np.mean(values))
