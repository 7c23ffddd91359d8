"""Does the starter do what its prompts say? Held-out captions in, music out, and what independent judges hear in it.

Every number stands beside two others: what the same judge hears in the real clip that the caption was written for (no
model can be expected to beat it), and what it hears when prompts and audio are shuffled (what chance gives).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from descant import api
from descant.atomic import write_atomically
from descant.audio import Clip
from descant.config import from_dict, to_dict
from descant.data.manifest import read_manifest
from descant.errors import InvalidRequest
from descant.evaluation import instruments, musical
from descant.evaluation.embedders import MusicTagger
from descant.evaluation.instruments import FamilyThreshold, family_scores
from descant.evaluation.report import (
    markdown_table,
    mean_with_interval,
    paired_difference,
    rate_with_interval,
    write_report_json,
)
from descant.studies.codec_report import codec_markdown, measure_codec
from descant.studies.prompts import (
    DURATION_S,
    FAMILY_OF,
    Prompt,
    choose_prompts,
    choose_tempo_prompts,
    claim_folder,
    draw_crops,
    generate_missing,
    read_crop,
)

NUM_CODEC_CLIPS = 50
NUM_TEMPO_PROMPTS = 32
"""Besides those that are chosen anyway: few sources have drums."""
NUM_CALIBRATION_CLIPS = 600


@dataclass(frozen=True)
class Heard:
    """What the judges hear in one clip."""

    tempo_bpm: float | None
    scores: Mapping[str, float]
    flatness: float | None
    onsets_per_second: float


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    num_prompts: int = 64,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, which is also written to ``out_dir`` as report.json and report.md, beside the clips it is about.

    What a run was stopped in is taken up where it was: clips that are there are not generated again.

    Raises:
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa, musicnn's weights or opus-tools are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    valid = read_manifest(manifest, split="valid")
    prompts = choose_prompts(valid, num_prompts, seed)
    music = api.load(model)
    every_prompt = prompts + choose_tempo_prompts(valid, NUM_TEMPO_PROMPTS, seed, prompts)
    claim_folder(out_dir, music.fingerprint, every_prompt)
    tagger = MusicTagger.load()
    thresholds = tagger_thresholds(tagger, manifest, out_dir / "tagger.json", seed, progress)
    requests = [prompt.request() for prompt in every_prompt]
    files = generate_missing(music.generate, requests, out_dir / "clips", progress)
    progress("listening to the generated clips and to the real ones")
    all_generated = [hear(Clip.read(file), tagger) for file in files]
    all_real = [hear(prompt.real_clip(), tagger) for prompt in every_prompt]
    generated, real = all_generated[: len(prompts)], all_real[: len(prompts)]
    progress("comparing the codec with Opus")
    held_out = [
        read_crop(record.path, offset_s).resample(music.sample_rate_hz).to_channels(music.num_channels)
        for record, offset_s in draw_crops(valid, NUM_CODEC_CLIPS, seed)
    ]
    report = {
        "model": model,
        "model_fingerprint": music.fingerprint,
        "num_prompts": len(prompts),
        "num_tempo_prompts": len(every_prompt) - len(prompts),
        "tempo": {
            "generated": tempo_report(every_prompt, all_generated),
            "real": tempo_report(every_prompt, all_real),
        },
        "instruments": {
            "generated": instrument_report(prompts, generated, thresholds),
            "real": instrument_report(prompts, real, thresholds),
        },
        "sound": {"generated": _sound(generated), "real": _sound(real)},
        "tagger": {family: asdict(threshold) for family, threshold in thresholds.items()},
        "codec": measure_codec(music.model.codec, held_out),
    }
    write_report_json(report, out_dir / "report.json")
    (out_dir / "report.md").write_text(markdown(report), encoding="utf-8")
    return report


def hear(clip: Clip, tagger: MusicTagger) -> Heard:
    """What the judges hear in a clip."""
    return Heard(
        tempo_bpm=musical.estimate_tempo_bpm(clip),
        scores=family_scores(tagger.tag(clip)),
        flatness=musical.spectral_flatness(clip),
        onsets_per_second=musical.onsets_per_second(clip),
    )


def tempo_report(prompts: Sequence[Prompt], heard: Sequence[Heard]) -> dict[str, Any]:
    """Of the prompts that state a tempo and have drums, how many were heard at it, at its octave, and at no relation.

    Raises:
        InvalidRequest: fewer than two prompts state a tempo and have drums.
    """
    asked = [
        (prompt.bpm, clip.tempo_bpm)
        for prompt, clip in zip(prompts, heard, strict=True)
        if prompt.bpm and prompt.has_drums
    ]
    if len(asked) < 2:
        raise InvalidRequest(f"{len(asked)} prompts state a tempo and have drums: tempo is judged on at least two")
    matches = Counter(musical.tempo_match(tempo, bpm) for bpm, tempo in asked)
    by_chance = [
        float(
            np.mean(
                [musical.tempo_match(tempo, bpm) == "same" for other, (bpm, _) in enumerate(asked) if other != index]
            )
        )
        for index, (_, tempo) in enumerate(asked)
    ]
    return {
        "within_5_percent": rate_with_interval(matches["same"], len(asked)),
        "octave_errors": rate_with_interval(matches["double"] + matches["half"], len(asked)),
        "within_5_percent_shuffled": mean_with_interval(by_chance),
        "matches": dict(matches),
    }


def instrument_report(
    prompts: Sequence[Prompt], heard: Sequence[Heard], thresholds: Mapping[str, FamilyThreshold]
) -> dict[str, Any]:
    """How often the families that a prompt names are recognised in its clip, and how often those of the other prompts.

    A clip counts with the share of its prompt's families that are recognised, so that clips are what is resampled.

    Raises:
        InvalidRequest: fewer than two prompts name a family that the tagger knows.
    """
    reliable = {family: threshold.score for family, threshold in thresholds.items() if threshold.is_reliable}
    judged = [
        (named, {family: clip.scores[family] > score for family, score in reliable.items()})
        for prompt, clip in zip(prompts, heard, strict=True)
        if (named := [family for family in prompt.families if family in reliable])
    ]
    if len(judged) < 2:
        raise InvalidRequest(f"{len(judged)} prompts name a family that the tagger knows: at least two are needed")
    matched = [float(np.mean([hits[family] for family in named])) for named, hits in judged]
    shuffled = [
        float(np.mean([np.mean([hits[family] for family in named]) for j, (named, _) in enumerate(judged) if j != i]))
        for i, (_, hits) in enumerate(judged)
    ]
    return {
        "recognised": mean_with_interval(matched),
        "recognised_shuffled": mean_with_interval(shuffled),
        "difference": paired_difference(matched, shuffled),
        "by_family": {family: _family_rates(family, judged) for family in reliable},
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The report for readers."""
    tempo, heard = report["tempo"], report["instruments"]
    rows = [
        [
            "tempo within 5 %, of the prompts with drums that state one",
            *(tempo[who]["within_5_percent"] for who in _WHO),
        ],
        ["heard at half or double that tempo", *(tempo[who]["octave_errors"] for who in _WHO)],
        ["tempo within 5 %, prompts shuffled", *(tempo[who]["within_5_percent_shuffled"] for who in _WHO)],
        ["named instrument family recognised", *(heard[who]["recognised"] for who in _WHO)],
        ["the same, prompts shuffled", *(heard[who]["recognised_shuffled"] for who in _WHO)],
        ["difference to shuffled", *(heard[who]["difference"] for who in _WHO)],
        ["spectral flatness (white noise: 0.56)", *(report["sound"][who]["flatness"] for who in _WHO)],
        ["onsets a second", *(report["sound"][who]["onsets_per_second"] for who in _WHO)],
    ]
    families = [
        [family, threshold["separation"], *(_share(heard[who]["by_family"].get(family)) for who in _WHO)]
        for family, threshold in report["tagger"].items()
    ]
    return (
        f"# What {report['model']} does with {report['num_prompts']} held-out captions\n\n"
        f"{DURATION_S:g} s each; means and shares with 95 % intervals. Tempo is heard in "
        f"{report['num_tempo_prompts']} more, of clips with drums that state one.\n\n"
        + markdown_table(["", "generated", "the real clips"], rows)
        + "\n## Families\n\nRecognised where named; families that the tagger tells apart too badly are not judged.\n\n"
        + markdown_table(["family", "area under the ROC curve", "generated", "the real clips"], families)
        + "\n## Codec\n\n"
        + codec_markdown(report["codec"])
    )


_WHO = ("generated", "real")


def tagger_thresholds(
    tagger: MusicTagger, manifest: Path, file: Path, seed: int, progress: Callable[[str], None]
) -> dict[str, FamilyThreshold]:
    """The families' thresholds on training clips, kept in ``file`` for the next time."""
    if not file.exists():
        progress(f"calibrating the tagger on {NUM_CALIBRATION_CLIPS} training clips")
        train = read_manifest(manifest, split="train")
        clips = draw_crops(train, NUM_CALIBRATION_CLIPS, seed)
        scores = [family_scores(tagger.tag(read_crop(record.path, offset_s))) for record, offset_s in clips]
        playing = [{FAMILY_OF.get(name, name) for name in record.tags["instrument"]} for record, _ in clips]
        found = instruments.calibrate(scores, playing)
        write_atomically(file, json.dumps({name: to_dict(value) for name, value in found.items()}, indent=2).encode())
    kept = json.loads(file.read_text(encoding="utf-8"))
    return {name: from_dict(FamilyThreshold, value, name) for name, value in kept.items()}


def _sound(heard: Sequence[Heard]) -> dict[str, Any]:
    return {
        "flatness": mean_with_interval([clip.flatness for clip in heard if clip.flatness is not None]),
        "onsets_per_second": mean_with_interval([clip.onsets_per_second for clip in heard]),
    }


def _family_rates(family: str, judged: Sequence[tuple[list[str], dict[str, bool]]]) -> dict[str, Any] | None:
    hits = [recognised[family] for named, recognised in judged if family in named]
    return asdict(rate_with_interval(sum(hits), len(hits))) if hits else None


def _share(rate: Mapping[str, Any] | None) -> str:
    return f"{rate['value']:.2f} of {rate['count']}" if rate else "not named or not judged"
