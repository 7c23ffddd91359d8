"""Does a melody model follow its melody? Held-out captions with their clip's melody, without one, with another clip's.

The score is the share of frames with the same loudest pitch class as the clip's (arXiv 2306.05284, table 2). A caption
may state the key, so a model that ignores the melody scores above chance: the effect of the melody is the difference to
the same caption and seed without one. The real clip through the codec is the upper bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from descant import api
from descant.audio import Clip
from descant.data.manifest import ClipRecord, read_manifest
from descant.errors import InvalidRequest
from descant.evaluation.chroma_cosine import chroma_cosine
from descant.evaluation.embedders import MusicTagger
from descant.evaluation.report import markdown_table, mean_with_interval, paired_difference, write_report_json
from starter_corpus.instruments import DRUMS
from starter_corpus.reports.measures import instrument_report, measure_clip, tagger_thresholds, tempo_report
from starter_corpus.reports.prompts import DURATION_S, Prompt, choose_prompts, claim_folder, generate_missing

_COLUMNS = ("own", "none", "real")
_ROWS = {
    "own": "the caption and the clip's melody",
    "none": "the caption alone",
    "other": "the caption and another clip's melody",
    "other_with_given": "the same, compared with that other melody",
    "own_minus_none": "difference of the melody to none",
    "own_minus_other": "difference of the melody to another",
    "codec": "the clip itself through the codec",
}


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    thresholds_file: Path,
    num_prompts: int = 64,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, also written to ``out_dir`` as melody.json and melody.md, with the clips in subfolders.

    An interrupted run continues: clips that exist are not generated again.

    Args:
        thresholds_file: the tagger's thresholds; calibrated and stored there if it does not exist.

    Raises:
        InvalidRequest: the model takes no melody, there are fewer than two prompts, or too few of them state a tempo.
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    prompts = choose_melodies(read_manifest(manifest, split="valid"), num_prompts, seed)
    music = api.load(model)
    claim_folder(out_dir, music.fingerprint, prompts)
    tagger = MusicTagger.load()
    melodies = [prompt.real_clip() for prompt in prompts]
    clips: dict[str, list[Clip]] = {}
    for condition, given in given_melodies(melodies).items():
        progress(f"generating from {_ROWS[condition]}")
        requests = [replace(prompt.request(), melody=melody) for prompt, melody in zip(prompts, given, strict=True)]
        files = generate_missing(music.generate, requests, out_dir / "clips" / condition, progress)
        clips[condition] = [Clip.read(file) for file in files]
    progress("encoding and decoding the real clips")
    clips["codec"] = [music.codec.decode(music.codec.encode(melody)) for melody in melodies]
    thresholds = tagger_thresholds(tagger, manifest, thresholds_file, seed, progress)
    progress("analysing the clips with and without their melody, and the real ones")
    measures = {
        column: [measure_clip(clip, tagger) for clip in column_clips]
        for column, column_clips in {"own": clips["own"], "none": clips["none"], "real": melodies}.items()
    }
    report = {
        "model": model,
        "model_fingerprint": music.fingerprint,
        "num_prompts": len(prompts),
        "melody": melody_agreement(melodies, clips),
        "tempo": {column: tempo_report(prompts, of_clips) for column, of_clips in measures.items()},
        "instruments": {
            column: instrument_report(prompts, of_clips, thresholds) for column, of_clips in measures.items()
        },
    }
    write_report_json(report, out_dir / "melody.json")
    (out_dir / "melody.md").write_text(markdown(report), encoding="utf-8")
    return report


def choose_melodies(records: Sequence[ClipRecord], num_prompts: int, seed: int) -> list[Prompt]:
    """Prompts of ``choose_prompts`` from clips with more than drums, each with the first ten seconds of its clip.

    Raises:
        InvalidRequest: ``num_prompts`` is below two: each caption also gets another clip's melody.
        DataError: fewer sources have a clip that is long enough and has a caption.
    """
    if num_prompts < 2:
        raise InvalidRequest(f"num_prompts={num_prompts}: at least two, since each also gets another's melody")
    tuneful = [record for record in records if set(record.tags.get("instrument", ())) != {DRUMS.name}]
    return [replace(prompt, offset_s=0.0) for prompt in choose_prompts(tuneful, num_prompts, seed)]


def given_melodies(melodies: Sequence[Clip]) -> dict[str, list[Clip | None]]:
    """The melody given with each prompt: its clip's own, none, or that of the clip half the list away."""
    half = len(melodies) // 2
    return {"own": list(melodies), "none": [None] * len(melodies), "other": [*melodies[half:], *melodies[:half]]}


def melody_agreement(melodies: Sequence[Clip], clips: Mapping[str, Sequence[Clip]]) -> dict[str, Any]:
    """How well the clips of each condition agree with their prompt's own melody, and the effect of the condition.

    Args:
        clips: those conditioned on their own melody (``own``), on none (``none``) and on another (``other``), and the
            real ones through the codec (``codec``).
    """
    agreement = {
        condition: [chroma_cosine(clip, melody) for clip, melody in zip(of_condition, melodies, strict=True)]
        for condition, of_condition in clips.items()
    }
    given = given_melodies(melodies)["other"]
    agreement["other_with_given"] = [
        chroma_cosine(clip, melody) for clip, melody in zip(clips["other"], given, strict=True) if melody is not None
    ]
    return {
        **{condition: mean_with_interval(shares) for condition, shares in agreement.items()},
        "own_minus_none": paired_difference(agreement["own"], agreement["none"]),
        "own_minus_other": paired_difference(agreement["own"], agreement["other"]),
        "by_clip": agreement,
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""

    def row(label: str, part: str, name: str) -> list[Any]:
        return [label, *(report[part][column][name] for column in _COLUMNS)]

    rows = [
        row("tempo within 5 %, of the captions with drums that state one", "tempo", "within_5_percent"),
        row("estimated at half or double that tempo", "tempo", "octave_errors"),
        row("named instrument family recognised", "instruments", "recognised"),
        row("the same, captions shuffled", "instruments", "recognised_shuffled"),
    ]
    return (
        f"# How {report['model']} follows {report['num_prompts']} held-out melodies\n\n"
        f"{DURATION_S:g} s each; means and shares with 95 % intervals. Chroma cosine: the share of frames with the "
        "same loudest pitch class as the clip that the caption was written for.\n\n"
        + markdown_table(["", "chroma cosine"], [[name, report["melody"][key]] for key, name in _ROWS.items()])
        + "\n## Tempo and instruments of the captions\n\n"
        + markdown_table(["", "with its melody", "without", "the real clips"], rows)
    )
