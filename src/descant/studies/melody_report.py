"""Does a melody model follow its melody? Held-out captions, told with their clip's melody, without, with another's.

What is heard of the melody is the share of frames with the clip's loudest pitch class (arXiv 2306.05284, table 2). A
caption may state the key, so that a model which hears no melody at all agrees more than chance would have it: what the
melody does is the difference to the same caption and seed without. What the codec leaves of the clip itself is the most
that can be reached.
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
from descant.studies.prompts import DURATION_S, Prompt, choose_prompts, claim_folder, generate_missing
from descant.studies.starter_report import hear, instrument_report, tagger_thresholds, tempo_report
from starter_corpus.instruments import DRUMS


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    thresholds_file: Path,
    num_prompts: int = 64,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, which is also written to ``out_dir`` as melody.json and melody.md, beside the clips it is about.

    Clips that are there from a run that was stopped are not generated again.

    Args:
        thresholds_file: where ``starter_report`` keeps the tagger's thresholds; it is written if it is not there.

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
    made: dict[str, list[Clip]] = {}
    for telling, told in told_melodies(melodies).items():
        progress(f"telling {_ROWS[telling]}")
        requests = [replace(prompt.request(), melody=melody) for prompt, melody in zip(prompts, told, strict=True)]
        files = generate_missing(music.generate, requests, out_dir / "clips" / telling, progress)
        made[telling] = [Clip.read(file) for file in files]
    progress("coding the real clips")
    made["codec"] = [music.codec.decode(music.codec.encode(melody)) for melody in melodies]
    thresholds = tagger_thresholds(tagger, manifest, thresholds_file, seed, progress)
    progress("listening to the clips told with and without their melody, and to the real ones")
    judged = {"own": made["own"], "none": made["none"], "real": melodies}
    heard = {who: [hear(clip, tagger) for clip in clips] for who, clips in judged.items()}
    report = {
        "model": model,
        "model_fingerprint": music.fingerprint,
        "num_prompts": len(prompts),
        "melody": melody_agreement(melodies, made),
        "tempo": {who: tempo_report(prompts, clips) for who, clips in heard.items()},
        "instruments": {who: instrument_report(prompts, clips, thresholds) for who, clips in heard.items()},
    }
    write_report_json(report, out_dir / "melody.json")
    (out_dir / "melody.md").write_text(markdown(report), encoding="utf-8")
    return report


def choose_melodies(records: Sequence[ClipRecord], num_prompts: int, seed: int) -> list[Prompt]:
    """Held-out captions as ``choose_prompts`` has them, with the first ten seconds of clips that are not drums alone.

    Raises:
        InvalidRequest: fewer than two are asked for: each is told another's melody as well.
        DataError: there are not as many sources with clips long enough and a caption.
    """
    if num_prompts < 2:
        raise InvalidRequest(f"num_prompts={num_prompts}: at least two, since each is told another's melody as well")
    tuneful = [record for record in records if set(record.tags.get("instrument", ())) != {DRUMS.name}]
    return [replace(prompt, offset_s=0.0) for prompt in choose_prompts(tuneful, num_prompts, seed)]


def told_melodies(melodies: Sequence[Clip]) -> dict[str, list[Clip | None]]:
    """What each prompt is told: its clip's melody, none, or that of the clip half the list away."""
    half = len(melodies) // 2
    return {"own": list(melodies), "none": [None] * len(melodies), "other": [*melodies[half:], *melodies[:half]]}


def melody_agreement(melodies: Sequence[Clip], made: Mapping[str, Sequence[Clip]]) -> dict[str, Any]:
    """How far each kind of clip agrees with its prompt's own melody, and what telling it changes.

    Args:
        made: the clips told their own melody (``own``), none, and another (``other``), and the real ones through the
            codec (``codec``).
    """
    agreement = {
        who: [chroma_cosine(clip, melody) for clip, melody in zip(clips, melodies, strict=True)]
        for who, clips in made.items()
    }
    told = told_melodies(melodies)["other"]
    agreement["other_with_told"] = [
        chroma_cosine(clip, melody) for clip, melody in zip(made["other"], told, strict=True) if melody is not None
    ]
    return {
        **{who: mean_with_interval(shares) for who, shares in agreement.items()},
        "own_minus_none": paired_difference(agreement["own"], agreement["none"]),
        "own_minus_other": paired_difference(agreement["own"], agreement["other"]),
        "by_clip": agreement,
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The report for readers."""
    tempo, instruments = report["tempo"], report["instruments"]
    judged = [
        [
            "tempo within 5 %, of the captions with drums that state one",
            *(tempo[who]["within_5_percent"] for who in _WHO),
        ],
        ["heard at half or double that tempo", *(tempo[who]["octave_errors"] for who in _WHO)],
        ["named instrument family recognised", *(instruments[who]["recognised"] for who in _WHO)],
        ["the same, captions shuffled", *(instruments[who]["recognised_shuffled"] for who in _WHO)],
    ]
    return (
        f"# How {report['model']} follows {report['num_prompts']} held-out melodies\n\n"
        f"{DURATION_S:g} s each; means and shares with 95 % intervals. Chroma cosine: the share of frames with the "
        "loudest pitch class of the clip that the caption was written for.\n\n"
        + markdown_table(["", "chroma cosine"], [[name, report["melody"][key]] for key, name in _ROWS.items()])
        + "\n## What else the captions say\n\n"
        + markdown_table(["", "with its melody", "without", "the real clips"], judged)
    )


_WHO = ("own", "none", "real")
_ROWS = {
    "own": "the caption and the clip's melody",
    "none": "the caption alone",
    "other": "the caption and another clip's melody",
    "other_with_told": "the same, compared with that other melody",
    "own_minus_none": "difference of the melody to none",
    "own_minus_other": "difference of the melody to another",
    "codec": "the clip itself through the codec",
}
