"""Held-out captions as prompts, each with its target values and its real clip, and the clips a model generates."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from descant.atomic import write_atomically
from descant.audio import Clip, audio_header, read_samples
from descant.config import to_dict
from descant.data.manifest import ClipRecord
from descant.errors import DataError
from descant.evaluation.instruments import families_named
from descant.generation.request import Request
from descant.tempo_key import parse_tempo_key
from starter_corpus.instruments import DRUMS, PROGRAMS

DURATION_S = 10.0
BATCH = 8

_FLUTES = ("flute", "piccolo", "recorder", "pan flute", "shakuhachi", "whistle", "ocarina")
FAMILY_OF = {
    **{family: family for family in ("piano", "guitar", "strings", "brass", "organ", "harp", "choir", "synth", "bass")},
    **{instrument.name: instrument.family for instrument in (*PROGRAMS.values(), DRUMS)},
    **dict.fromkeys(_FLUTES, "flute"),
    "drum": "drums",
    "string": "strings",
}
"""The family of every instrument that a caption can name. The tagger knows flutes but no reeds: two families."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A held-out caption with its targets, and the real clip that it describes.

    ``bpm`` is None unless the caption states a tempo; ``families`` are the named instrument families that play in the
    clip.
    """

    text: str
    seed: int
    bpm: float | None
    has_drums: bool
    families: tuple[str, ...]
    reference: Path
    offset_s: float

    def real_clip(self) -> Clip:
        """Ten seconds of the real clip."""
        return read_crop(self.reference, self.offset_s)

    def request(self) -> Request:
        """Ten seconds of music for the caption."""
        return Request(text=self.text, duration_s=DURATION_S, seed=self.seed)


def choose_prompts(records: Sequence[ClipRecord], num_prompts: int, seed: int) -> list[Prompt]:
    """``num_prompts`` held-out captions drawn with the seed, at most one per source; each has its own seed.

    Of a clip's captions any may be drawn; where there are drums, any that states the tempo.

    Raises:
        DataError: fewer sources have a clip that is long enough and has a caption.
    """
    generator = np.random.default_rng(seed)
    usable = [record for record in records if record.captions and record.duration_s >= DURATION_S]
    by_source: dict[str, ClipRecord] = {}
    for index in generator.permutation(len(usable)):
        record = usable[index]
        by_source.setdefault(str(record.tags.get("source", record.path)), record)
    if len(by_source) < num_prompts:
        raise DataError(
            f"num_prompts={num_prompts}: the held-out clips of {DURATION_S:g} s or more come from only "
            f"{len(by_source)} sources; ask for fewer prompts or hold out more"
        )
    return [_prompt(record, generator) for record in list(by_source.values())[:num_prompts]]


def choose_tempo_prompts(
    records: Sequence[ClipRecord], num_prompts: int, seed: int, chosen: Sequence[Prompt] = ()
) -> list[Prompt]:
    """Up to ``num_prompts`` more held-out captions that state a tempo, of clips with drums.

    Sources alternate: few of them have drums, and one with many clips would dominate.

    Args:
        chosen: existing prompts, whose clips are left out.
    """
    generator = np.random.default_rng([seed, len(chosen)])
    taken = {prompt.reference for prompt in chosen}
    by_source: dict[str, list[ClipRecord]] = {}
    for index in generator.permutation(len(records)):
        record = records[index]
        is_usable = record.tags.get("has_drums") and any(map(_states_tempo, record.captions))
        if is_usable and record.duration_s >= DURATION_S and record.path not in taken:
            by_source.setdefault(str(record.tags.get("source", record.path)), []).append(record)
    rounds = zip_longest(*by_source.values())
    ordered = [record for one_round in rounds for record in one_round if record is not None]
    return [_prompt(record, generator) for record in ordered[:num_prompts]]


def claim_folder(out_dir: Path, fingerprint: str, prompts: Sequence[Any]) -> None:
    """Records the weights and prompts of the folder's clips, so that clips of another run are never reused.

    Args:
        prompts: dataclasses.

    Raises:
        DataError: the folder's clips were made with other weights or prompts.
    """
    inputs = {"model_fingerprint": fingerprint, "prompts": [to_dict(prompt) for prompt in prompts]}
    file = out_dir / "prompts.json"
    if not file.exists():
        write_atomically(file, json.dumps(inputs, indent=2).encode())
    elif json.loads(file.read_text(encoding="utf-8")) != inputs:
        raise DataError(
            f"{file}: the clips were made with other weights, another manifest or seed: "
            f"use another folder or delete this one"
        )


def generate_missing(
    generate: Callable[[list[Request]], list[Clip]],
    requests: Sequence[Request],
    folder: Path,
    progress: Callable[[str], None],
) -> list[Path]:
    """The requests' clips as files in ``folder``, in order; existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index:03d}.wav" for index in range(len(requests))]
    missing = [(file, request) for file, request in zip(files, requests, strict=True) if not file.exists()]
    for start in range(0, len(missing), BATCH):
        progress(f"generating clip {start + 1} of {len(missing)}")
        batch = missing[start : start + BATCH]
        for (file, _), clip in zip(batch, generate([request for _, request in batch]), strict=True):
            clip.save(file)
    return files


def draw_crops(records: Sequence[ClipRecord], num_clips: int, seed: int) -> list[tuple[ClipRecord, float]]:
    """Up to ``num_clips`` different clips at random, each with the start of its ten seconds."""
    generator = np.random.default_rng(seed)
    usable = [record for record in records if record.duration_s >= DURATION_S]
    chosen = [usable[index] for index in generator.permutation(len(usable))[:num_clips]]
    return [(record, float(generator.uniform(0, record.duration_s - DURATION_S))) for record in chosen]


def read_crop(path: Path, offset_s: float) -> Clip:
    """Ten seconds of a file."""
    rate = audio_header(path).sample_rate_hz
    return Clip(samples=read_samples(path, int(offset_s * rate), int(DURATION_S * rate)), sample_rate_hz=rate)


def _prompt(record: ClipRecord, generator: np.random.Generator) -> Prompt:
    # Tempo is measured where there are drums, but half of the captions state none: draw from the others there.
    stating = [text for text in record.captions if _states_tempo(text)]
    captions = stating if stating and record.tags.get("has_drums") else record.captions
    text = captions[generator.integers(len(captions))]
    playing = {FAMILY_OF[name] for name in record.tags.get("instrument", ()) if name in FAMILY_OF}
    return Prompt(
        text=text,
        seed=int(generator.integers(2**31)),
        bpm=float(record.tags["bpm"]) if _states_tempo(text) else None,
        has_drums=bool(record.tags.get("has_drums")),
        families=tuple(sorted(families_named(text, FAMILY_OF) & playing)),
        reference=record.path,
        offset_s=float(generator.uniform(0, record.duration_s - DURATION_S)),
    )


def _states_tempo(text: str) -> bool:
    return parse_tempo_key(text).bpm is not None
