"""Which sampling makes the music move and keeps to the prompt? The same prompts and seeds under other settings.

Held-out captions and typed prompts, one clip each. Movement is compared with that of the held-out recordings: a value
is typical if it is from their 5th to their 95th percentile. Differences to the first row are paired by prompt.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from descant import api
from descant.atomic import write_atomically
from descant.audio import Clip, read_info
from descant.data.manifest import read_manifest
from descant.evaluation.agreement import measure_agreement, target_of
from descant.evaluation.instruments import InstrumentDetector
from descant.evaluation.movement import Movement, measure_movement, within_reference
from descant.evaluation.report import Estimate, markdown_table, mean_with_interval, paired_difference
from descant.generation.request import Guidance, Request, Sampling
from starter_corpus.reports.prompts import DURATION_S, Prompt, choose_prompts, claim_folder, generate_missing

NUM_CAPTIONS = 32
FIRST_TYPED_SEED = 9_000
TYPED = (
    *("a slow sad piano piece", "folk tune on a flute", "country song with acoustic guitar", "dark techno"),
    *("jazz trio with piano and bass", "happy ukulele-like guitar tune", "epic strings"),
    *("lo-fi hip hop with electric piano", "heavy metal riff with distorted guitar", "funk groove with slap bass"),
    *("reggae with organ", "gentle harp lullaby", "fast polka with accordion", "80s synth pop", "ambient synth pad"),
    *("blues guitar", "bossa nova guitar", "marching band", "church organ hymn", "choir singing slowly"),
    *("disco with strings", "celtic fiddle reel", "music box melody", "romantic waltz"),
    *("rock ballad with electric guitar", "soul with brass", "ragtime piano", "trance with synth lead"),
    *("salsa with trumpet", "solo cello in a minor key", "swing big band", "marimba and flute"),
)
"""Prompts to tune on: reports of how good a model is use others (``typed.py``)."""

MEASURES = {
    "longest_hold_s": "longest hold, s",
    "chord_changes_per_minute": "chord changes a minute",
    "onsets_per_second": "onsets a second",
    "bar_self_similarity": "self-similarity at the bar",
    "typical": "share of typical measures",
    "tempo": "tempo",
    "key": "key",
    "instruments": "instruments",
}


@dataclass(frozen=True)
class Settings:
    """One row: how codes are drawn."""

    guidance: Guidance = field(default_factory=Guidance)
    sampling: Sampling = field(default_factory=Sampling)


ROWS: dict[str, Settings] = {
    "guidance 3": Settings(),
    "hold penalty 2": Settings(sampling=Sampling(hold_penalty=2.0)),
    "hold penalty 4": Settings(sampling=Sampling(hold_penalty=4.0)),
    "guidance 4, hold penalty 4": Settings(Guidance(scale=4.0), Sampling(hold_penalty=4.0)),
    "guidance 2": Settings(guidance=Guidance(scale=2.0)),
    "guidance 4": Settings(guidance=Guidance(scale=4.0)),
    "guidance 1.5": Settings(guidance=Guidance(scale=1.5)),
    "temperature 0.9": Settings(sampling=Sampling(temperature=0.9)),
    "top-k 100": Settings(sampling=Sampling(top_k=100)),
    "top-p 0.9": Settings(sampling=Sampling(top_k=0, top_p=0.9)),
}
"""The first is what the others are compared with."""


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    *,
    rows: Mapping[str, Settings] = ROWS,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, also written to ``out_dir`` as sampling.json and sampling.md, with the clips of each row in a folder.

    An interrupted run continues: clips that exist are not generated again, rows that are measured not measured again.

    Raises:
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    valid = read_manifest(manifest, split="valid")
    sources = {str(record.tags.get("source", record.path)) for record in valid if record.duration_s >= DURATION_S}
    recordings = choose_prompts(valid, len(sources), seed)
    captions = recordings[:NUM_CAPTIONS]
    music = api.load(model)
    claim_folder(out_dir, music.fingerprint, captions)
    reference = [measure_movement(prompt.real_clip()) for prompt in recordings]
    detector = InstrumentDetector.load()
    found = {}
    for name, settings in rows.items():
        stored = out_dir / f"{name}.json"
        if stored.exists():
            found[name] = json.loads(stored.read_text(encoding="utf-8"))
            continue
        asked = [replace(one, guidance=settings.guidance, sampling=settings.sampling) for one in requests(captions)]
        files = generate_missing(music.generate, asked, out_dir / name, partial(_named, progress, name))
        progress(f"{name}: measuring")
        found[name] = [_measured(file, reference, detector) for file in files]
        write_atomically(stored, json.dumps(found[name]).encode())
    report = {"model": model, "model_fingerprint": music.fingerprint, **summary(found, reference)}
    write_atomically(out_dir / "sampling.json", json.dumps(report, indent=2).encode())
    (out_dir / "sampling.md").write_text(markdown(report), encoding="utf-8")
    return report


def requests(captions: Sequence[Prompt]) -> list[Request]:
    """A request for each caption and each typed prompt."""
    typed = [
        Request(text=text, duration_s=DURATION_S, seed=FIRST_TYPED_SEED + place) for place, text in enumerate(TYPED)
    ]
    return [*(prompt.request() for prompt in captions), *typed]


def summary(found: Mapping[str, Sequence[Mapping[str, float | None]]], reference: Sequence[Movement]) -> dict[str, Any]:
    """For each row the means of its measures, and their paired differences to those of the first row.

    Args:
        found: the measures of each row's clips, in the order of the prompts; None where one is not defined.
    """
    first = next(iter(found))
    return {
        "num_prompts": len(found[first]),
        "recordings": {
            name: asdict(mean_with_interval(values))
            for name in MEASURES
            if (values := [value for one in reference if (value := getattr(one, name, None)) is not None])
        },
        "rows": {
            row: {name: asdict(mean_with_interval(values)) for name in MEASURES if (values := _known(clips, name))}
            for row, clips in found.items()
        },
        "differences": {
            row: {name: asdict(_difference(clips, found[first], name)) for name in MEASURES if _known(clips, name)}
            for row, clips in found.items()
            if row != first
        },
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""

    def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
        lines = [
            [row, *(Estimate(**values[name]) if name in values else "" for name in MEASURES)]
            for row, values in rows.items()
        ]
        return markdown_table(["", *MEASURES.values()], lines)

    first = next(iter(report["rows"]))
    return (
        f"# Sampling from {report['model']}, {report['num_prompts']} prompts\n\n"
        f"{DURATION_S:g} s each; means with 95 % intervals over the prompts.\n\n"
        + table({**report["rows"], "recordings": report["recordings"]})
        + f"\n## Differences to {first}\n\n"
        + table(report["differences"])
    )


def _named(progress: Callable[[str], None], row: str, line: str) -> None:
    progress(f"{row}: {line}")


def _measured(file: Path, reference: Sequence[Movement], detector: InstrumentDetector) -> dict[str, float | None]:
    """What a clip's prompt and the choices for it asked for, and how it moves."""
    clip, info = Clip.read(file), read_info(file)
    movement = measure_movement(clip)
    chosen = [info["text"], f"{info['tempo']:g} bpm" if info["tempo"] else None, info["key"]]
    agreement = measure_agreement(clip, target_of(", ".join(word for word in chosen if word)), detector)
    places = within_reference(movement, reference).values()
    return {
        **asdict(movement),
        "typical": sum(place.is_typical for place in places) / len(places),
        "tempo": agreement.tempo,
        "key": agreement.key,
        "instruments": agreement.instruments,
    }


def _known(clips: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    return [value for clip in clips if (value := clip[name]) is not None]


def _difference(
    clips: Sequence[Mapping[str, float | None]], others: Sequence[Mapping[str, float | None]], name: str
) -> Estimate:
    """Of the prompts that have the measure in both rows."""
    pairs = [(one[name], other[name]) for one, other in zip(clips, others, strict=True)]
    both = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return paired_difference([ours for ours, _ in both], [theirs for _, theirs in both])
