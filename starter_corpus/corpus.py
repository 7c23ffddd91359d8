"""The corpus on disk: thousands of pieces with true captions, rendered in any order; an interrupted run continues.

Piece i is a pure function of (seed, i). A piece is finished when its sidecar exists; the manifest only lists the
sidecars and is rewritten from time to time.
"""

import itertools
import json
import math
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from descant.atomic import write_atomically
from descant.audio import Clip
from descant.data.manifest import Split
from descant.errors import ConfigError
from descant.process_pool import process_pool
from starter_corpus.card import card_text
from starter_corpus.pieces import make_piece, plan_piece, planned_duration_s
from starter_corpus.render import Synthesizer
from starter_corpus.score import SAMPLE_RATE_HZ

MANIFEST = "manifest.jsonl"
MAX_HOURS = 10_000
MAX_WORKERS = 256
_PIECES_BETWEEN_MANIFESTS = 100


def render_corpus(
    out_dir: Path,
    hours: float,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[float, float], None] | None = None,
    soundfont: Path | None = None,
    split: Split | None = None,
) -> Path:
    """Renders at least ``hours`` of the corpus and returns the path of its manifest; existing pieces are kept.

    Args:
        workers: Number of processes; the pieces do not depend on it. More than one are spawned, so a calling script
            needs ``if __name__ == "__main__"``.
        progress: Called with the hours done and the hours in total.
        soundfont: A General MIDI soundfont instead of FluidR3.
        split: Of these hours, only the pieces that are planned for this split; None renders all.

    Raises:
        ConfigError: if the folder holds a corpus of another seed, or an argument is out of range.
        MissingExtra: if a program, package or soundfont is missing; the message says how to install it.
        ProcessLost: if one of several workers was ended by the system.
    """
    if not 0 < hours <= MAX_HOURS or not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(
            f"hours={hours:g}, workers={workers}: hours must be above 0 and at most {MAX_HOURS}, "
            f"workers from 1 to {MAX_WORKERS}"
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    _claim(out_dir, seed)
    indices = [index for index in _indices_for(seed, hours) if split is None or plan_piece(seed, index).split == split]
    missing = [index for index in indices if not _sidecar(out_dir, index).is_file()]
    done_s = _rendered_s(out_dir, indices)
    for count, duration_s in enumerate(_render(out_dir, seed, missing, workers, soundfont), start=1):
        done_s += duration_s
        if progress is not None:
            progress(done_s / 3600, hours)
        if count % _PIECES_BETWEEN_MANIFESTS == 0:
            write_manifest(out_dir)
    return write_manifest(out_dir)


def _render(
    out_dir: Path, seed: int, indices: list[int], workers: int, soundfont: Path | None
) -> Generator[float, None, None]:
    """Renders the pieces and yields the duration of each in seconds; one worker is this process itself."""
    if workers == 1:
        synthesizer = Synthesizer(soundfont)
        try:
            for index in indices:
                yield _render_one(synthesizer, out_dir, seed, index)
        finally:
            synthesizer.close()
        return
    with process_pool(workers, _start_worker, soundfont, option="--workers") as pool:
        yield from pool.map(_render_in_worker, itertools.repeat(out_dir), itertools.repeat(seed), indices)


def _indices_for(seed: int, hours: float) -> list[int]:
    """The first pieces whose planned durations reach ``hours``: the same ones, however many are already rendered."""
    planned_s, index = 0.0, 0
    while planned_s < hours * 3600:
        planned_s += planned_duration_s(plan_piece(seed, index))
        index += 1
    return list(range(index))


def _claim(out_dir: Path, seed: int) -> None:
    """Records the seed in the folder, so that two corpora never mix."""
    file = out_dir / "corpus.json"
    if file.is_file():
        known = json.loads(file.read_text())["seed"]
        if known != seed:
            raise ConfigError(f"{out_dir} holds a corpus of seed {known}, not {seed}: choose another folder")
    else:
        _write_text(file, json.dumps({"seed": seed, "format": 1}))


_worker_synthesizer: list[Synthesizer] = []


def _start_worker(soundfont: Path | None) -> None:
    _worker_synthesizer.append(Synthesizer(soundfont))


def _render_in_worker(out_dir: Path, seed: int, index: int) -> float:
    return _render_one(_worker_synthesizer[0], out_dir, seed, index)


def _render_one(synthesizer: Synthesizer, out_dir: Path, seed: int, index: int) -> float:
    """Renders one piece and writes its audio, then its sidecar; returns its duration in seconds."""
    piece = make_piece(synthesizer, seed, index)
    audio = out_dir / piece.record["path"]
    audio.parent.mkdir(parents=True, exist_ok=True)
    Clip(samples=torch.from_numpy(piece.samples)[None], sample_rate_hz=SAMPLE_RATE_HZ).save(audio)
    _write_text(_sidecar(out_dir, index), json.dumps(piece.record, ensure_ascii=False))
    return piece.record["duration_s"]


def _sidecar(out_dir: Path, index: int) -> Path:
    return out_dir / f"audio/{index // 1000:05d}/{index:06d}.json"


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, text.encode())


def _records(out_dir: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out_dir.glob("audio/*/*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _rendered_s(out_dir: Path, indices: list[int]) -> float:
    sidecars = (_sidecar(out_dir, index) for index in indices)
    return math.fsum(json.loads(path.read_text())["duration_s"] for path in sidecars if path.is_file())


def write_manifest(out_dir: Path) -> Path:
    """Lists the finished pieces in ``manifest.jsonl``, sorted by index, and writes the data card next to it."""
    records = list(_records(out_dir))
    path = out_dir / MANIFEST
    _write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    _write_text(out_dir / "DATA_CARD.md", card_text(records))
    return path
