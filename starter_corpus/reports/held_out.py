"""Does the starter follow its prompts? It generates for held-out captions, and independent estimators score the result.

Every number comes with two others: the same estimate on the real clip that the caption was written for, an upper bound
for any model, and the estimate with prompts and clips shuffled, which is chance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from descant import api
from descant.audio import Clip
from descant.data.manifest import read_manifest
from descant.evaluation.embedders import MusicTagger
from descant.evaluation.report import markdown_table, mean_with_interval, write_report_json
from descant.studies.codec_report import codec_markdown, measure_codec
from starter_corpus.reports.measures import (
    ClipMeasures,
    instrument_report,
    measure_clip,
    tagger_thresholds,
    tempo_report,
)
from starter_corpus.reports.prompts import (
    DURATION_S,
    choose_prompts,
    choose_tempo_prompts,
    claim_folder,
    draw_crops,
    generate_missing,
    read_crop,
)

NUM_CODEC_CLIPS = 50
NUM_TEMPO_PROMPTS = 32
"""In addition to the other prompts, since few sources have drums."""
_COLUMNS = ("generated", "real")


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    num_prompts: int = 64,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, also written to ``out_dir`` as report.json and report.md, with the clips in a subfolder.

    An interrupted run continues: clips that exist are not generated again.

    Raises:
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa, musicnn's weights or opus-tools are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    valid = read_manifest(manifest, split="valid")
    prompts = choose_prompts(valid, num_prompts, seed)
    music = api.load(model)
    all_prompts = prompts + choose_tempo_prompts(valid, NUM_TEMPO_PROMPTS, seed, prompts)
    claim_folder(out_dir, music.fingerprint, all_prompts)
    tagger = MusicTagger.load()
    thresholds = tagger_thresholds(tagger, manifest, out_dir / "tagger.json", seed, progress)
    requests = [prompt.request() for prompt in all_prompts]
    files = generate_missing(music.generate, requests, out_dir / "clips", progress)
    progress("analysing the generated and the real clips")
    all_generated = [measure_clip(Clip.read(file), tagger) for file in files]
    all_real = [measure_clip(prompt.real_clip(), tagger) for prompt in all_prompts]
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
        "num_tempo_prompts": len(all_prompts) - len(prompts),
        "tempo": {
            "generated": tempo_report(all_prompts, all_generated),
            "real": tempo_report(all_prompts, all_real),
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


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""

    def row(label: str, part: str, name: str) -> list[Any]:
        return [label, *(report[part][column][name] for column in _COLUMNS)]

    rows = [
        row("tempo within 5 %, of the prompts with drums that state one", "tempo", "within_5_percent"),
        row("estimated at half or double that tempo", "tempo", "octave_errors"),
        row("tempo within 5 %, prompts shuffled", "tempo", "within_5_percent_shuffled"),
        row("named instrument family recognised", "instruments", "recognised"),
        row("the same, prompts shuffled", "instruments", "recognised_shuffled"),
        row("difference to shuffled", "instruments", "difference"),
        row("spectral flatness (white noise: 0.56)", "sound", "flatness"),
        row("onsets per second", "sound", "onsets_per_second"),
    ]
    families = [
        [
            family,
            threshold["separation"],
            *(_share(report["instruments"][column]["by_family"].get(family)) for column in _COLUMNS),
        ]
        for family, threshold in report["tagger"].items()
    ]
    return (
        f"# What {report['model']} does with {report['num_prompts']} held-out captions\n\n"
        f"{DURATION_S:g} s each; means and shares with 95 % intervals. Tempo is measured on "
        f"{report['num_tempo_prompts']} more captions of clips with drums that state one.\n\n"
        + markdown_table(["", "generated", "the real clips"], rows)
        + "\n## Families\n\nRecognised where named; families that the tagger separates poorly are not scored.\n\n"
        + markdown_table(["family", "area under the ROC curve", "generated", "the real clips"], families)
        + "\n## Codec\n\n"
        + codec_markdown(report["codec"])
    )


def _sound(clips: Sequence[ClipMeasures]) -> dict[str, Any]:
    return {
        "flatness": mean_with_interval([clip.flatness for clip in clips if clip.flatness is not None]),
        "onsets_per_second": mean_with_interval([clip.onsets_per_second for clip in clips]),
    }


def _share(rate: Mapping[str, Any] | None) -> str:
    return f"{rate['value']:.2f} of {rate['count']}" if rate else "not named or not scored"
