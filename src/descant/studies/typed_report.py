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
from descant.evaluation.report import markdown_table, mean_with_interval, paired_difference, write_report_json
from descant.generation.request import Request
from descant.studies.prompts import BATCH, DURATION_S, draw_crops, read_crop
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
    seeds: Sequence[int] = (0, 1, 2),
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, written to ``out_dir`` as typed.json and typed.md beside the clips it is about.

    Raises:
        DataError: the manifest is broken.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    music = api.load(model)
    tagger = MusicTagger.load()
    thresholds = tagger_thresholds(tagger, manifest, out_dir / "tagger.json", 0, progress)
    train = read_manifest(manifest, split="train")
    onsets = [
        musical.onsets_per_second(read_crop(record.path, offset_s))
        for record, offset_s in draw_crops(train, NUM_PACE_CLIPS, 0)
    ]
    asked = [(prompt, seed) for seed in seeds for prompt in PROMPTS]
    clips: list[Clip] = []
    for start in range(0, len(asked), BATCH):
        progress(f"generating clip {start + 1} of {len(asked)}")
        batch = asked[start : start + BATCH]
        clips += music.generate([Request(text=prompt.text, duration_s=DURATION_S, seed=seed) for prompt, seed in batch])
    for (prompt, seed), clip in zip(asked, clips, strict=True):
        clip.save(out_dir / f"{prompt.text.replace(' ', '-').replace(',', '')}-{seed}.wav")
    prompts = [prompt for prompt, _ in asked]
    report = {
        "model": model,
        "model_fingerprint": music.fingerprint,
        "num_seeds": len(seeds),
        "median_onsets_per_second": float(np.median(onsets)),
        **typed_report(prompts, [hear_all(clip, tagger) for clip in clips], thresholds, float(np.median(onsets))),
    }
    write_report_json(report, out_dir / "typed.json")
    (out_dir / "typed.md").write_text(markdown(report), encoding="utf-8")
    return report


def hear_all(clip: Clip, tagger: MusicTagger) -> tuple[Heard, str]:
    """What the judges hear in a clip, and its key."""
    return hear(clip, tagger), musical.heard_key(clip)


def typed_report(
    prompts: Sequence[TypedPrompt],
    heard: Sequence[tuple[Heard, str]],
    thresholds: Mapping[str, FamilyThreshold],
    median_onsets: float,
) -> dict[str, Any]:
    """The share of what the prompts say that is heard: in all, of each kind, by prompt; and with prompts shuffled.

    A clip counts with the share of its prompt's claims, so that clips are what is resampled.
    """
    kept = [claims_kept(prompt, *clip, thresholds, median_onsets) for prompt, clip in zip(prompts, heard, strict=True)]
    chance = [
        [
            claims_kept(prompt, *clip, thresholds, median_onsets)
            for other, clip in zip(prompts, heard, strict=True)
            if other.text != prompt.text
        ]
        for prompt in prompts
    ]
    matched = [float(np.mean(list(claims.values()))) for claims in kept]
    shuffled = [float(np.mean([value for claims in others for value in claims.values()])) for others in chance]
    kinds = sorted({_kind(name) for claims in kept for name in claims})
    return {
        "kept": mean_with_interval(matched),
        "kept_shuffled": mean_with_interval(shuffled),
        "difference": paired_difference(matched, shuffled),
        "most_kept": mean_with_interval([float(share > 0.5) for share in matched]),
        "by_kind": {
            kind: {
                "kept": _mean([value for claims in kept for name, value in claims.items() if _kind(name) == kind]),
                "shuffled": _mean(
                    [
                        value
                        for others in chance
                        for claims in others
                        for name, value in claims.items()
                        if _kind(name) == kind
                    ]
                ),
            }
            for kind in kinds
        },
        "by_prompt": {
            text: _mean([share for prompt, share in zip(prompts, matched, strict=True) if prompt.text == text])
            for text in dict.fromkeys(prompt.text for prompt in prompts)
        },
    }


def claims_kept(
    prompt: TypedPrompt, heard: Heard, key: str, thresholds: Mapping[str, FamilyThreshold], median_onsets: float
) -> dict[str, bool]:
    """Whether each thing that the prompt says is heard; a fast clip has more onsets than the median one, a slow one
    fewer."""
    claims = {f"instrument {family}": heard.scores[family] > thresholds[family].score for family in prompt.families}
    if prompt.pace is not None:
        claims["pace"] = (heard.onsets_per_second > median_onsets) == (prompt.pace == "fast")
    if prompt.mode is not None:
        claims["mode"] = key.endswith(prompt.mode)
    if prompt.bpm is not None:
        claims["tempo"] = musical.tempo_match(heard.tempo_bpm, prompt.bpm) == "same"
    return claims


def markdown(report: Mapping[str, Any]) -> str:
    """The report for readers."""
    rows = [
        ["all that the prompts say", report["kept"], report["kept_shuffled"]],
        *([kind, f"{rates['kept']:.2f}", f"{rates['shuffled']:.2f}"] for kind, rates in report["by_kind"].items()),
    ]
    return (
        f"# What {report['model']} does with {len(report['by_prompt'])} typed prompts\n\n"
        f"{report['num_seeds']} clips of each.\n\n"
        + markdown_table(["heard of", "share", "with another prompt"], rows)
        + "\n"
        + markdown_table(["prompt", "share"], [[text, f"{share:.2f}"] for text, share in report["by_prompt"].items()])
    )


def _kind(claim: str) -> str:
    return claim.split()[0]


def _mean(values: Sequence[float | bool]) -> float:
    return float(np.mean(values))
