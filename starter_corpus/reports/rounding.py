"""What rounding costs the starter: cross-entropy of held-out clips, and music for held-out captions, at each precision.

All precisions get the same clips, captions and seeds, and every difference is to fp32 on the same prompt. The clips of
one prompt are not independent, so their mean is one observation, and prompts are resampled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from descant import api
from descant.api import MusicGen
from descant.audio import Clip
from descant.data.manifest import read_manifest
from descant.evaluation.embedders import MusicTagger
from descant.evaluation.musical import tempo_match
from descant.evaluation.report import Estimate, mean_with_interval, paired_difference
from descant.studies.rounding import cross_entropies
from descant.studies.speed.machine import machine_info
from starter_corpus.reports.measures import ClipMeasures, mean, measure_clip, tagger_thresholds
from starter_corpus.reports.prompts import (
    BATCH,
    Prompt,
    choose_prompts,
    choose_tempo_prompts,
    claim_folder,
    generate_missing,
)

T = TypeVar("T")

PRECISIONS = ("fp32", "int8", "int4")
"""The first is what the others are compared with."""

NUM_TEMPO_PROMPTS = 32
"""In addition to the other prompts, since few sources have drums."""

Values: TypeAlias = dict[str, list[float]]
"""Measures by name, with one value for each prompt that has it, in the order of the prompts."""

Music: TypeAlias = list[list[ClipMeasures]]
"""What was measured on the clips of each prompt, one clip for each seed."""


def predictions(model: str, manifest: Path, num_prompts: int = 64, seed: int = 0) -> list[dict[str, Any]]:
    """How well each precision predicts held-out clips given their captions: their cross-entropy in nats.

    Raises:
        DataError: the manifest is broken or has too few sources.
    """
    prompts = choose_prompts(read_manifest(manifest, split="valid"), num_prompts, seed)
    reports: list[dict[str, Any]] = []
    exact: Values | None = None
    for precision in PRECISIONS:
        generator = api.load(model, precision=precision)
        values = entropy_values(generator, prompts)
        exact = exact or values
        reports.append({**machine_info(generator), **with_differences(values, exact)})
    return reports


def music(
    model: str,
    manifest: Path,
    out_dir: Path,
    num_prompts: int = 64,
    num_seeds: int = 2,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """How well the music of each precision fits held-out captions; the clips are in subfolders of ``out_dir``.

    An interrupted run continues: clips that exist are not generated again, also if there were fewer seeds.

    Raises:
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        InvalidRequest: no prompt names an instrument that the tagger recognises, or none has drums and states a tempo.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    valid = read_manifest(manifest, split="valid")
    chosen = choose_prompts(valid, num_prompts, seed)
    prompts = [*chosen, *choose_tempo_prompts(valid, NUM_TEMPO_PROMPTS, seed, chosen)]
    tagger = MusicTagger.load()
    calibrated = tagger_thresholds(tagger, manifest, out_dir / "tagger.json", seed, progress)
    thresholds = {family: threshold.score for family, threshold in calibrated.items() if threshold.is_reliable}
    reports: list[dict[str, Any]] = []
    exact: Music | None = None
    for precision in PRECISIONS:
        progress(precision)
        generator = api.load(model, precision=precision)
        claim_folder(out_dir, generator.fingerprint, prompts)
        requests = [replace(one.request(), seed=one.seed + number) for number in range(num_seeds) for one in prompts]
        files = generate_missing(generator.generate, requests, out_dir / precision, progress)
        measured = [measure_clip(Clip.read(file), tagger) for file in files]
        clips = [measured[number :: len(prompts)] for number in range(len(prompts))]
        exact = exact or clips
        values = (music_values(prompts, of, thresholds) for of in (clips, exact))
        wins = mean_with_interval(tag_wins(prompts, clips, exact, thresholds))
        info = {**machine_info(generator), "num_seeds": num_seeds}
        reports.append({**info, **with_differences(*values), "tag_wins": wins})
    return reports


def entropy_values(generator: MusicGen, prompts: Sequence[Prompt]) -> Values:
    """The cross-entropy of each prompt's real clip given its caption, in nats: over all codebooks and of each."""
    batches = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        codes = torch.stack([generator.codec.encode(prompt.real_clip()) for prompt in batch])
        # A caption without a tempo has no clock, so it does not matter how many beats were before.
        beats = torch.tensor([prompt.offset_s * (prompt.bpm or 0.0) / 60 for prompt in batch])
        batches.append(cross_entropies(generator, codes, [prompt.text for prompt in batch], beats))
    entropies = torch.cat(batches).double()
    by_codebook = {f"cross_entropy_q{number}": column.tolist() for number, column in enumerate(entropies.unbind(1))}
    return {"cross_entropy": entropies.mean(dim=1).tolist(), **by_codebook}


def music_values(prompts: Sequence[Prompt], clips: Music, thresholds: Mapping[str, float]) -> Values:
    """The recognised share of the instrument families that a prompt names (``recognised``), and the share of its clips
    within 5 % of the stated tempo, of the prompts with drums that state one (``tempo``).
    """
    return {
        "recognised": [
            mean([clip.scores[family] > thresholds[family] for clip in of_prompt for family in named])
            for named, of_prompt in _naming(prompts, clips, thresholds)
        ],
        "tempo": [
            mean([tempo_match(clip.tempo_bpm, prompt.bpm) == "same" for clip in of_prompt])
            for prompt, of_prompt in zip(prompts, clips, strict=True)
            if prompt.bpm and prompt.has_drums
        ],
    }


def tag_wins(prompts: Sequence[Prompt], clips: Music, exact: Music, thresholds: Mapping[str, float]) -> list[float]:
    """How often the tagger scores a named family higher than in the exact model's clip of the same prompt and seed.

    Equal scores count as half a win, so 0.5 is expected if neither is better.
    """
    pairs = [list(zip(*both, strict=True)) for both in zip(clips, exact, strict=True)]
    return [
        mean(
            [
                float(np.heaviside(clip.scores[family] - other.scores[family], 0.5))
                for clip, other in of_prompt
                for family in named
            ]
        )
        for named, of_prompt in _naming(prompts, pairs, thresholds)
    ]


def with_differences(values: Values, exact: Values) -> dict[str, Estimate]:
    """The mean of every measure, and the mean difference to the exact model's."""
    means = {name: mean_with_interval(values[name]) for name in values}
    return means | {f"{name}_difference": paired_difference(values[name], exact[name]) for name in values}


def _naming(
    prompts: Sequence[Prompt], clips: Sequence[T], thresholds: Mapping[str, float]
) -> Iterator[tuple[list[str], T]]:
    """The families with a threshold that each prompt names, and its clips; prompts without any are left out."""
    for prompt, of_prompt in zip(prompts, clips, strict=True):
        if named := [family for family in prompt.families if family in thresholds]:
            yield named, of_prompt
