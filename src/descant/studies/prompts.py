"""Held-out captions as prompts: which ones, what each promises, the real clip beside it, what a model makes of it."""

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
"""The family of every instrument that a caption names; the tagger knows flutes, but no reeds, so they stand apart."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A held-out caption and what it promises, with the clip that it describes.

    ``bpm`` is None unless the caption states a tempo; ``families`` are those it names and that truly play.
    """

    text: str
    seed: int
    bpm: float | None
    has_drums: bool
    families: tuple[str, ...]
    reference: Path
    offset_s: float

    def real_clip(self) -> Clip:
        """The ten seconds of the real clip."""
        return read_crop(self.reference, self.offset_s)

    def request(self) -> Request:
        """Ten seconds of music for the caption."""
        return Request(text=self.text, duration_s=DURATION_S, seed=self.seed)


def choose_prompts(records: Sequence[ClipRecord], num_prompts: int, seed: int) -> list[Prompt]:
    """As many held-out captions, at most one of a source, drawn with the seed; each with a seed of its own.

    A clip's caption is any of its own, but one that states the tempo where there are drums to hear it by.

    Raises:
        DataError: there are not as many sources with clips long enough and a caption.
    """
    generator = np.random.default_rng(seed)
    usable = [record for record in records if record.captions and record.duration_s >= DURATION_S]
    by_source: dict[str, ClipRecord] = {}
    for index in generator.permutation(len(usable)):
        record = usable[index]
        by_source.setdefault(str(record.tags.get("source", record.path)), record)
    if len(by_source) < num_prompts:
        raise DataError(
            f"{num_prompts} prompts were asked for, the held-out clips of {DURATION_S:g} s or more come from "
            f"{len(by_source)} sources: ask for fewer or hold more out"
        )
    return [_prompt(record, generator) for record in list(by_source.values())[:num_prompts]]


def choose_tempo_prompts(
    records: Sequence[ClipRecord], num_prompts: int, seed: int, chosen: Sequence[Prompt] = ()
) -> list[Prompt]:
    """More held-out captions of clips with drums that state a tempo, all there are if there are no more.

    Sources take turns, since few of them have drums, and one with many clips would be most of what is heard.

    Args:
        chosen: prompts that there are already; their clips are left out.
    """
    generator = np.random.default_rng([seed, len(chosen)])
    taken = {prompt.reference for prompt in chosen}
    by_source: dict[str, list[ClipRecord]] = {}
    for index in generator.permutation(len(records)):
        record = records[index]
        is_heard = record.tags.get("has_drums") and any(map(_states_tempo, record.captions))
        if is_heard and record.duration_s >= DURATION_S and record.path not in taken:
            by_source.setdefault(str(record.tags.get("source", record.path)), []).append(record)
    rounds = zip_longest(*by_source.values())
    ordered = [record for one_round in rounds for record in one_round if record is not None]
    return [_prompt(record, generator) for record in ordered[:num_prompts]]


def claim_folder(out_dir: Path, fingerprint: str, prompts: Sequence[Any]) -> None:
    """Writes down what the folder's clips are made from, so that clips of other weights are never taken for ours.

    Args:
        prompts: dataclasses, all that is known of each.

    Raises:
        DataError: the folder's clips are made from something else.
    """
    facts = {"model_fingerprint": fingerprint, "prompts": [to_dict(prompt) for prompt in prompts]}
    file = out_dir / "prompts.json"
    if not file.exists():
        write_atomically(file, json.dumps(facts, indent=2).encode())
    elif json.loads(file.read_text(encoding="utf-8")) != facts:
        raise DataError(
            f"{file} is of other weights, another manifest or seed: give another folder, or remove this one"
        )


def generate_missing(
    generate: Callable[[list[Request]], list[Clip]],
    requests: Sequence[Request],
    folder: Path,
    progress: Callable[[str], None],
) -> list[Path]:
    """Clips of these requests as files in ``folder``, in their order; those that are there stay as they are."""
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
    """Different clips at random, all of them if there are no more, and where in each the ten seconds begin."""
    generator = np.random.default_rng(seed)
    usable = [record for record in records if record.duration_s >= DURATION_S]
    chosen = [usable[index] for index in generator.permutation(len(usable))[:num_clips]]
    return [(record, float(generator.uniform(0, record.duration_s - DURATION_S))) for record in chosen]


def read_crop(path: Path, offset_s: float) -> Clip:
    """Ten seconds of a file."""
    rate = audio_header(path).sample_rate_hz
    return Clip(samples=read_samples(path, int(offset_s * rate), int(DURATION_S * rate)), sample_rate_hz=rate)


def _prompt(record: ClipRecord, generator: np.random.Generator) -> Prompt:
    # Half of the captions state no tempo, and tempo is judged where there are drums: take one of the others there.
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
