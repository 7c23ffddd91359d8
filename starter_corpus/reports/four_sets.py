"""Do the measures order what they must? Held-out recordings after the codec, generated clips, the same clips under each
other's prompts, and noise, all against the recordings; other recordings show what is left between two sets of one kind.

All sets are folders of the same names, so that ``descant evaluate`` gives the same numbers:

    OUT/
      prompts.json      the prompts with seeds and crops, and the model
      texts.json        the prompts by name, for descant evaluate --prompts
      reference/        ten seconds of the recording that each caption describes
      other/            as many other held-out recordings
      codec/            reference/ encoded and decoded
      generated/        music for the captions
      shuffled/         generated/ with the clip of another prompt under each name
      noise/            white noise
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from descant import api
from descant.atomic import write_atomically
from descant.audio import Clip
from descant.data.manifest import read_manifest
from descant.evaluation.report import Estimate, markdown_table
from descant.studies.evaluation.base import Asked, Measure
from descant.studies.evaluation.choice import Settings
from descant.studies.evaluation.evaluate import evaluate
from descant.studies.evaluation.measuring import LOUDNESS_LUFS
from descant.studies.evaluation.results import Evaluation
from descant.studies.evaluation.sets import open_set
from starter_corpus.reports.prompts import (
    DURATION_S,
    Prompt,
    choose_prompts,
    choose_tempo_prompts,
    claim_folder,
    draw_crops,
    generate_missing,
    read_crop,
)

NUM_PROMPTS, NUM_TEMPO_PROMPTS = 64, 32
"""Frechet distances need more than 67 clips of ten seconds with MusiCNN; few sources have drums, hence the others."""
SETS = ("other", "codec", "generated", "shuffled", "noise")
PAIRED = ("kl", "tempo", "key", "instruments")
"""Measures that compare a clip with its prompt or its recording. The others do not see which clip has which prompt, so
shuffling cannot change them."""
ORDERED = ("fad", "kad", "kl", "tempo", "key", "instruments")


def run(
    model: str, manifest: Path, out_dir: Path, seed: int = 0, progress: Callable[[str], None] = print
) -> dict[str, Evaluation]:
    """The evaluation of each set; files that exist are kept, so that an interrupted run continues.

    Raises:
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    valid = read_manifest(manifest, split="valid")
    chosen = choose_prompts(valid, NUM_PROMPTS, seed)
    prompts = [*chosen, *choose_tempo_prompts(valid, NUM_TEMPO_PROMPTS, seed, chosen)]
    names = [f"{number:03d}" for number in range(len(prompts))]
    texts = {name: prompt.text for name, prompt in zip(names, prompts, strict=True)}
    write_atomically(out_dir / "texts.json", json.dumps(texts, indent=2).encode())
    generator = api.load(model)
    claim_folder(out_dir, generator.fingerprint, prompts)
    generate_missing(generator.generate, [one.request() for one in prompts], out_dir / "generated", progress)
    used = {prompt.reference for prompt in prompts}
    others = draw_crops([record for record in valid if record.path not in used], len(prompts), seed)
    _write(out_dir / "reference", names, lambda number: prompts[number].real_clip())
    _write(out_dir / "other", names[: len(others)], lambda number: read_crop(others[number][0].path, others[number][1]))
    _write(out_dir / "codec", names, lambda number: _decoded(generator, prompts[number]))
    _write(out_dir / "shuffled", names, lambda number: Clip.read(out_dir / "generated" / f"{names[number - 1]}.wav"))
    _write(out_dir / "noise", names, lambda number: _noise(generator.sample_rate_hz, seed + number))
    return {name: _evaluated(name, out_dir, texts, seed, progress) for name in SETS}


def markdown(found: Mapping[str, Evaluation]) -> str:
    """A line for each measure, with the sets side by side and whether their order is right.

    The recordings themselves have no distances, which would be zero.
    """
    rows = []
    for row in found["generated"].rows:
        estimates = {name: _estimate(evaluation, row.measure.key) for name, evaluation in found.items()}
        cells = ["" if one is None else one for one in (row.reference, *estimates.values())]
        rows.append([row.measure.label, row.measure.better or "", *cells, _order(row.measure, estimates)])
    return markdown_table(["measure", "better", "recordings", *found, "order"], rows)


def _order(measure: Measure, estimates: Mapping[str, Estimate | None]) -> str:
    """Whether codec, generated and the lower lines are in order; empty where they need not be."""
    if measure.key not in ORDERED:
        return ""
    lower = ("shuffled", "noise") if measure.key in PAIRED else ("noise",)
    sign = 1 if measure.better == "lower" else -1
    wrong = []
    for better, worse in (("codec", "generated"), *(("generated", name) for name in lower)):
        first, second = estimates[better], estimates[worse]
        if first is None or second is None or sign * first.value < sign * second.value:
            continue
        overlap = first.low <= second.high and second.low <= first.high
        wrong.append(f"{better} is not better than {worse}{' (intervals overlap)' * overlap}")
    return "; ".join(wrong) or "right"


def _estimate(evaluation: Evaluation, key: str) -> Estimate | None:
    return next((row.estimate for row in evaluation.rows if row.measure.key == key), None)


def _evaluated(
    name: str, out_dir: Path, texts: Mapping[str, str], seed: int, progress: Callable[[str], None]
) -> Evaluation:
    progress(f"measuring {name}")
    asked = {} if name == "other" else {clip: Asked(text=text) for clip, text in texts.items()}
    settings = Settings(cache=out_dir / "cache", seed=seed)
    reference_asked = {clip: Asked(text=text) for clip, text in texts.items()}
    return evaluate(
        open_set(out_dir / name, asked=asked), open_set(out_dir / "reference", asked=reference_asked), settings
    )


def _write(folder: Path, names: Sequence[str], make: Callable[[int], Clip]) -> None:
    """The clips that are missing in a folder."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        if not (folder / f"{name}.wav").is_file():
            make(number).save(folder / f"{name}.wav")


def _decoded(generator: api.MusicGen, prompt: Prompt) -> Clip:
    decoded = generator.codec.decode(generator.codec.encode(prompt.real_clip()))
    return Clip(decoded.samples, decoded.sample_rate_hz)


def _noise(sample_rate_hz: int, seed: int) -> Clip:
    generator = np.random.default_rng(seed)
    samples = 0.1 * generator.standard_normal((1, round(DURATION_S * sample_rate_hz)))
    return Clip(torch.from_numpy(samples).float(), sample_rate_hz).normalize_loudness(LOUDNESS_LUFS)
