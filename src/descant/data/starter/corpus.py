"""The corpus: thousands of pieces on disk with captions that are true, made in any order, stopped and continued.

Piece i is a function of (seed, i) alone. A piece is finished when its sidecar exists; the manifest is only a list of
the sidecars, written again and again.
"""

import itertools
import json
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from descant.data.starter.arrangement import Arrangement
from descant.data.starter.band import BandPlan, arrange_band, plan_band
from descant.data.starter.card import write_card
from descant.data.starter.chorales import ChoralePlan, arrange_chorale, plan_chorale
from descant.data.starter.instruments import DRUMS, instrument_of
from descant.data.starter.render import Mix, Synthesizer, mix
from descant.data.starter.score import SAMPLE_RATE_HZ
from descant.data.starter.sketches import SketchPlan, arrange_sketch, plan_sketch
from descant.data.starter.tunes import TunePlan, arrange_tune, plan_tune
from descant.data.starter.wording import Facts, captions, fitting_styles
from descant.errors import ConfigError, DataError

MANIFEST = "manifest.jsonl"
_KIND_SHARES = {"band": 0.62, "tune": 0.22, "sketch": 0.12, "chorale": 0.04}
_MAX_ATTEMPTS = 8
_HEARD_SHARE = 0.8
_PIECES_BETWEEN_MANIFESTS = 100

Plan = BandPlan | TunePlan | SketchPlan | ChoralePlan


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A finished piece: mono samples at 32 kHz and the record that describes it, path and split included."""

    samples: np.ndarray
    record: dict[str, Any]


def plan_piece(seed: int, index: int, attempt: int = 0) -> Plan:
    """What piece ``index`` is. A piece that cannot be made (a tune that does not parse) is planned again."""
    rng = random.Random(f"descant starter {seed} {index} {attempt}")
    kind = rng.choices(list(_KIND_SHARES), list(_KIND_SHARES.values()))[0]
    planners: dict[str, Callable[[random.Random], Plan]] = {
        "band": plan_band,
        "tune": plan_tune,
        "sketch": plan_sketch,
        "chorale": plan_chorale,
    }
    return planners[kind](rng)


def planned_duration_s(plan: Plan) -> float:
    """How long the piece will be, known before it is made."""
    return plan.num_beats * plan.tempo.samples_per_beat / SAMPLE_RATE_HZ


def _arrange(plan: Plan) -> Arrangement:
    if isinstance(plan, BandPlan):
        return arrange_band(plan)
    if isinstance(plan, TunePlan):
        return arrange_tune(plan)
    if isinstance(plan, SketchPlan):
        return arrange_sketch(plan)
    return arrange_chorale(plan)


def make_piece(synthesizer: Synthesizer, seed: int, index: int) -> Piece:
    """Piece ``index`` of the corpus, played and described.

    Raises:
        MissingExtra: if a program or package of the recipe is not installed.
        DataError: if nothing audible came of several plans in a row.
    """
    failures = []
    for attempt in range(_MAX_ATTEMPTS):
        plan = plan_piece(seed, index, attempt)
        rng = random.Random(f"descant starter mix {seed} {index} {attempt}")
        try:
            arrangement = _arrange(plan)
            parts = arrangement.score.parts
            stems = synthesizer.play(arrangement.score)
            offsets = [rng.uniform(-2.5, 1.5) for _ in parts]
            mixed = mix(parts, stems, offsets)
            words = random.Random(f"descant starter words {seed} {index} {attempt}")
            record = _record(index, plan, arrangement, mixed, words)
        except DataError as error:
            failures.append(str(error))
            continue
        return Piece(samples=mixed.samples, record=record)
    raise DataError(f"piece {index} of seed {seed}: {_MAX_ATTEMPTS} plans failed, the last one: {failures[-1]}")


def _record(index: int, plan: Plan, arrangement: Arrangement, mixed: Mix, words: random.Random) -> dict[str, Any]:
    """The manifest line of a piece, from what its parts turned out to sound like."""
    facts = _facts(arrangement, mixed)
    if not facts.instruments and not facts.has_drums:
        raise DataError(f"no instrument of {arrangement.source} is heard throughout")
    if np.abs(mixed.samples[: SAMPLE_RATE_HZ // 2]).max() < 0.01:
        raise DataError(f"{arrangement.source} does not start at once")
    families = [*facts.families, *([DRUMS.family] if facts.has_drums else [])]
    return {
        "path": f"audio/{index // 1000:05d}/{index:06d}.wav",
        "duration_s": len(mixed.samples) / SAMPLE_RATE_HZ,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "num_channels": 1,
        "split": plan.split,
        "captions": list(captions(facts, words)),
        "tags": {
            "genre": facts.genre,
            "style": fitting_styles(facts)[0],
            "instrument": [*facts.instruments, *([DRUMS.name] if facts.has_drums else [])],
            "instrument_family": list(dict.fromkeys(families)),
            "moods": list(facts.moods),
            "bpm": round(facts.bpm, 3),
            "key": facts.key,
            "metre": facts.metre,
            "has_drums": facts.has_drums,
            "beat_locked": arrangement.tempo.is_locked,
            "source": arrangement.source,
            "title": arrangement.title,
        },
    }


_ROLE_ORDER = ("lead", "arpeggio", "chords", "pad", "bass")


def _facts(arrangement: Arrangement, mixed: Mix) -> Facts:
    parts = arrangement.score.parts
    heard = [part for part, share in zip(parts, mixed.heard, strict=True) if share >= _HEARD_SHARE]
    melodic = sorted((part for part in heard if not part.is_drums), key=lambda part: _ROLE_ORDER.index(part.role))
    instruments = [instrument_of(part.program) for part in melodic]
    named = [instrument for instrument in instruments if instrument is not None]
    return Facts(
        genre=arrangement.genre,
        styles=arrangement.styles,
        instruments=tuple(dict.fromkeys(instrument.name for instrument in named)),
        families=tuple(dict.fromkeys(instrument.family for instrument in named)),
        moods=arrangement.moods,
        bpm=arrangement.tempo.bpm,
        key=arrangement.key,
        metre=arrangement.metre,
        has_drums=any(part.is_drums for part in heard),
        is_drumless=not any(part.is_drums for part in parts),
    )


def render_corpus(
    out_dir: Path,
    hours: float,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[float, float], None] | None = None,
    soundfont: Path | None = None,
) -> Path:
    """Renders the corpus up to so many hours and returns its manifest; pieces that are there already are kept.

    Args:
        workers: Processes that render; the pieces do not depend on their number.
        progress: Called with the hours done and the hours there will be.
        soundfont: Another General MIDI soundfont than FluidR3.

    Raises:
        ConfigError: if the folder holds a corpus of another seed, or an argument is out of range.
        MissingExtra: if a program, package or soundfont is missing; the message says how to install it.
    """
    if hours <= 0 or workers < 1:
        raise ConfigError(f"hours={hours:g} and workers={workers}: hours must be above 0, workers at least 1")
    out_dir.mkdir(parents=True, exist_ok=True)
    _claim(out_dir, seed)
    indices = _indices_for(seed, hours)
    missing = [index for index in indices if not _sidecar(out_dir, index).is_file()]
    done_s = _rendered_s(out_dir, indices)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (soundfont,)) as pool:
        jobs = pool.map(_render_one, itertools.repeat(out_dir), itertools.repeat(seed), missing)
        for count, duration_s in enumerate(jobs, start=1):
            done_s += duration_s
            if progress is not None:
                progress(done_s / 3600, hours)
            if count % _PIECES_BETWEEN_MANIFESTS == 0:
                write_manifest(out_dir)
    return write_manifest(out_dir)


def _indices_for(seed: int, hours: float) -> list[int]:
    """The first pieces whose planned durations reach so many hours: the same ones, however many are there already."""
    indices, planned_s = [], 0.0
    for index in itertools.count():
        if planned_s >= hours * 3600:
            return indices
        planned_s += planned_duration_s(plan_piece(seed, index))
        indices.append(index)
    raise AssertionError("unreachable: the count never ends")


def _claim(out_dir: Path, seed: int) -> None:
    """Notes the seed in the folder, so that two corpora never mix in one."""
    note = out_dir / "corpus.json"
    if note.is_file():
        known = json.loads(note.read_text())["seed"]
        if known != seed:
            raise ConfigError(f"{out_dir} holds a corpus of seed {known}, not {seed}: choose another folder")
    else:
        _write_text(note, json.dumps({"seed": seed, "format": 1}))


_worker_synthesizer: list[Synthesizer] = []


def _start_worker(soundfont: Path | None) -> None:
    _worker_synthesizer.append(Synthesizer(soundfont))


def _render_one(out_dir: Path, seed: int, index: int) -> float:
    """Makes one piece and writes its audio, then its sidecar; seconds of audio."""
    piece = make_piece(_worker_synthesizer[0], seed, index)
    audio = out_dir / piece.record["path"]
    audio.parent.mkdir(parents=True, exist_ok=True)
    temporary = audio.with_name(f".{audio.name}.{os.getpid()}")
    soundfile.write(temporary, piece.samples, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
    temporary.replace(audio)
    _write_text(_sidecar(out_dir, index), json.dumps(piece.record, ensure_ascii=False))
    return piece.record["duration_s"]


def _sidecar(out_dir: Path, index: int) -> Path:
    return out_dir / f"audio/{index // 1000:05d}/{index:06d}.json"


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _records(out_dir: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out_dir.glob("audio/*/*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _rendered_s(out_dir: Path, indices: list[int]) -> float:
    sidecars = (_sidecar(out_dir, index) for index in indices)
    return sum(json.loads(path.read_text())["duration_s"] for path in sidecars if path.is_file())


def write_manifest(out_dir: Path) -> Path:
    """Lists the finished pieces in ``manifest.jsonl``, sorted by index, and writes the data card beside it."""
    records = list(_records(out_dir))
    path = out_dir / MANIFEST
    _write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    write_card(out_dir / "DATA_CARD.md", records)
    return path
