"""Does a model play the chords it is given? Held-out captions with their piece's chords, and without.

Both have the tempo and the key of their piece, so what differs is the chords. The score is the share of frames in which
the chord of the piece is the best-fitting one (``chord_share``); the piece through the codec is the upper bound, the
same music compared with the chords of another prompt is chance.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from descant import api
from descant.atomic import write_atomically
from descant.audio import Clip
from descant.conditioning.chords import chords_text, chords_until, parse_chords
from descant.data.manifest import ClipRecord, read_manifest
from descant.errors import InvalidRequest
from descant.evaluation.agreement import chord_share, measure_agreement, target_of
from descant.evaluation.instruments import InstrumentDetector
from descant.evaluation.report import Estimate, markdown_table, mean_with_interval, paired_difference
from descant.generation.request import Request
from descant.tempo_key import parse_tempo_key
from starter_corpus.reports.prompts import DURATION_S, Prompt, choose_prompts, claim_folder, generate_missing

_ROWS = {
    "own": "the caption and its piece's chords",
    "none": "the caption alone",
    "chance": "with its chords, compared with another prompt's",
    "codec": "the piece itself through the codec",
    "own_minus_none": "difference of the chords to none",
}
_REST = ("tempo", "key", "instruments")


@dataclass(frozen=True)
class Harmony:
    """What a piece says of its harmony."""

    chords: str
    bpm: float
    key: str

    def completing(self, prompt: Prompt) -> Request:
        """The prompt's request, with the tempo and the key that its text does not state."""
        stated = parse_tempo_key(prompt.text)
        return replace(
            prompt.request(),
            tempo=self.bpm if stated.bpm is None else "auto",
            key=self.key if stated.key is None else "auto",
        )


def run(
    model: str,
    manifest: Path,
    out_dir: Path,
    num_prompts: int = 40,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report, also written to ``out_dir`` as chords.json and chords.md, with the clips in subfolders.

    An interrupted run continues: clips that exist are not generated again.

    Raises:
        InvalidRequest: the model takes no chords, or there are fewer than two prompts.
        DataError: the manifest is broken, has too few sources, or ``out_dir`` holds the clips of another run.
        MissingExtra: librosa or musicnn's weights are missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    prompts, harmonies = choose_harmonies(read_manifest(manifest, split="valid"), num_prompts, seed)
    music = api.load(model)
    claim_folder(out_dir, music.fingerprint, [*prompts, *harmonies])
    clips: dict[str, list[Clip]] = {}
    for condition in ("own", "none"):
        progress(f"generating from {_ROWS[condition]}")
        requests = [
            replace(own.completing(prompt), chords=own.chords if condition == "own" else "none")
            for prompt, own in zip(prompts, harmonies, strict=True)
        ]
        files = generate_missing(music.generate, requests, out_dir / "clips" / condition, progress)
        clips[condition] = [Clip.read(file) for file in files]
    progress("encoding and decoding the pieces, measuring")
    clips["codec"] = [music.codec.decode(music.codec.encode(prompt.real_clip())) for prompt in prompts]
    detector = InstrumentDetector.load()
    report = {
        "model": model,
        "model_fingerprint": music.fingerprint,
        "num_prompts": len(prompts),
        "chords": chord_agreement(clips, [harmony.chords for harmony in harmonies]),
        "rest": {name: rest_of(prompts, harmonies, of_condition, detector) for name, of_condition in clips.items()},
    }
    write_atomically(out_dir / "chords.json", json.dumps(report, indent=2).encode())
    write_atomically(out_dir / "chords.md", markdown(report).encode())
    return report


def choose_harmonies(records: Sequence[ClipRecord], num_prompts: int, seed: int) -> tuple[list[Prompt], list[Harmony]]:
    """Prompts of ``choose_prompts`` from pieces that know their chords, tempo and key, with the start of their piece.

    Raises:
        InvalidRequest: ``num_prompts`` is below two: chance compares with another's chords.
        DataError: fewer sources have such a piece that is long enough and has a caption.
    """
    if num_prompts < 2:
        raise InvalidRequest(f"num_prompts={num_prompts}: at least two, since each is compared with another's chords")
    known = {record.path: record for record in records if record.tags.get("chords") and record.tags.get("key")}
    prompts = [replace(prompt, offset_s=0.0) for prompt in choose_prompts(list(known.values()), num_prompts, seed)]
    tags = [known[prompt.reference].tags for prompt in prompts]
    return prompts, [Harmony(_until_end(own["chords"]), own["bpm"], own["key"]) for own in tags]


def chord_agreement(clips: Mapping[str, Sequence[Clip]], chords: Sequence[str]) -> dict[str, Any]:
    """How well the clips of each condition (``own``, ``none``, ``codec``) play these chords, a text for each prompt."""
    others = [*chords[len(chords) // 2 :], *chords[: len(chords) // 2]]
    shares = {condition: _shares(of_condition, chords) for condition, of_condition in clips.items()}
    shares["chance"] = _shares(clips["own"], others)
    means = {name: mean_with_interval([share for share in of if share is not None]) for name, of in shares.items()}
    pairs = [(own, none) for own, none in zip(shares["own"], shares["none"], strict=True)]
    known = [(own, none) for own, none in pairs if own is not None and none is not None]
    means["own_minus_none"] = paired_difference([own for own, _ in known], [none for _, none in known])
    return {"means": {name: asdict(mean) for name, mean in means.items()}, "by_clip": shares}


def rest_of(
    prompts: Sequence[Prompt], harmonies: Sequence[Harmony], clips: Sequence[Clip], detector: InstrumentDetector
) -> dict[str, Any]:
    """Mean agreement with the tempo, the key and the instruments that were asked for."""
    found = [
        measure_agreement(clip, target_of(f"{prompt.text}, {own.bpm:g} bpm, in {own.key}"), detector)
        for prompt, own, clip in zip(prompts, harmonies, clips, strict=True)
    ]
    known = {name: [value for one in found if (value := getattr(one, name)) is not None] for name in _REST}
    return {name: asdict(mean_with_interval(values)) for name, values in known.items() if values}


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    means, rest = report["chords"]["means"], report["rest"]
    rows = [
        [name, *(Estimate(**rest[column][name]) if name in rest[column] else "" for column in ("own", "none", "codec"))]
        for name in _REST
    ]
    return (
        f"# How {report['model']} plays the chords of {report['num_prompts']} held-out pieces\n\n"
        f"{DURATION_S:g} s each, with tempo and key of the piece; means with 95 % intervals. Shares of the frames in "
        "which the asked chord is the best-fitting one.\n\n"
        + markdown_table(["", "share"], [[name, Estimate(**means[key])] for key, name in _ROWS.items()])
        + "\n## Tempo, key and instruments\n\n"
        + markdown_table(["", "with its chords", "without", "the pieces"], rows)
    )


def _until_end(chords: str) -> str:
    """Those of a piece that begin within a clip; a request with others is refused."""
    return chords_text(chords_until(parse_chords(chords), DURATION_S))


def _shares(clips: Sequence[Clip], chords: Sequence[str]) -> list[float | None]:
    return [chord_share(clip, parse_chords(track)) for clip, track in zip(clips, chords, strict=True)]
