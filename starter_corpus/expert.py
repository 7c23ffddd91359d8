"""One round of expert iteration: of several clips for each caption the one that fits best becomes training data.

Captions come from the training split. The clips' codes are written as a folder of shards like those of
``descant data tokenize``: the corpus's own, and the chosen clips so often that they are half of what is drawn. After
``descant data melodies`` a recipe such as ``starter_chords`` trains on them (``--set tokens=``).

What was chosen waits in ``OUT.part``, a file for each caption, until all of it is there, so that a run that was stopped
goes on.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descant import api
from descant.atomic import write_atomically
from descant.audio import Clip
from descant.data.clip_table import ClipRow, read_table, write_table
from descant.data.manifest import ClipRecord, read_manifest
from descant.data.shards import StoredClip, read_shards, shard_path, write_shard
from descant.errors import DataError
from descant.evaluation.instruments import families_named
from descant.generation.request import Request
from descant.process_pool import process_pool
from descant.tempo_key import TempoKey, parse_key
from starter_corpus.judge import FamilyClassifier, Judge, load_embedder, mean_vector
from starter_corpus.reports.prompts import DURATION_S, FAMILY_OF, claim_folder, draw_crops, read_crop

NUM_TRIES = 8
KEPT_SHARE = 0.8
"""Of the best clips of all captions, those with the lowest scores are left out: a caption may be one that the model
cannot follow. With eight tries a tenth of all clips is kept."""
NUM_RECORDINGS = 600
"""That the judge learns instruments from."""


@dataclass(frozen=True)
class Tries:
    """A caption and the seeds of its clips."""

    caption: str
    seeds: tuple[int, ...]

    def requests(self) -> list[Request]:
        """One for each clip."""
        return [Request(text=self.caption, duration_s=DURATION_S, seed=seed) for seed in self.seeds]


@dataclass(frozen=True)
class Chosen:
    """The clip that fits its caption best, of several."""

    caption: str
    codes: Int[Tensor, "K T"]
    tags: dict[str, Any]
    score: float
    mean_score: float

    def save(self, file: Path) -> None:
        """Writes it as JSON."""
        write_atomically(file, json.dumps({**asdict(self), "codes": self.codes.tolist()}).encode())

    @classmethod
    def load(cls, file: Path) -> "Chosen":
        """What was saved there."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**content, "codes": torch.tensor(content["codes"])})


def choose(
    model: str,
    manifest: Path,
    tokens: Path,
    out_dir: Path,
    num_prompts: int,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[str], None] = print,
) -> dict[str, float]:
    """Writes ``out_dir`` with the codes of ``tokens`` and those of the chosen clips, and returns the scores' means.

    Raises:
        DataError: a folder is missing or broken, ``out_dir`` exists, or what another run left beside it was of other
            weights or captions.
        MissingExtra: librosa or musicnn's weights are missing.
        ProcessLost: one of several workers was ended by the system.
    """
    if out_dir.exists():
        raise DataError(f"{out_dir} exists: choose another folder")
    records = read_manifest(manifest, "train")
    music = api.load(model)
    tries = list(_tries(records, num_prompts, seed))
    part = out_dir.with_name(f"{out_dir.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    claim_folder(part, music.fingerprint, tries)
    files = [part / f"{number:04d}.json" for number in range(len(tries))]
    missing = [(file, one) for file, one in zip(files, tries, strict=True) if not file.exists()]
    if missing:
        progress("learning the sounds of instruments")
        classifier = fitted_classifier(records, seed)
        _choose_missing(music.generate, missing, classifier, workers, progress)
    chosen = sorted((Chosen.load(file) for file in files), key=_by_score)
    kept = chosen[: round(len(chosen) * KEPT_SHARE)]
    _write(kept, tokens, out_dir)
    shutil.rmtree(part)
    return {
        "score": float(np.mean([one.score for one in kept])),
        "mean_score": float(np.mean([one.mean_score for one in chosen])),
        "clips": len(kept),
    }


def _choose_missing(
    generate: Callable[[list[Request]], list[Clip]],
    missing: Sequence[tuple[Path, Tries]],
    classifier: FamilyClassifier,
    workers: int,
    progress: Callable[[str], None],
) -> None:
    """Saves the best clip of each caption; clips are judged while those of the next caption are made."""

    def save(file: Path, clips: Sequence[Clip], scores: Sequence[Future[float]]) -> None:
        _best(clips, [one.result() for one in scores]).save(file)

    with process_pool(workers, _start_judge, classifier, option="--workers") as pool:
        waiting: list[tuple[Path, list[Clip], list[Future[float]]]] = []
        for number, (file, tries) in enumerate(missing, start=1):
            clips = generate(tries.requests())
            parts = [(clip.samples, clip.sample_rate_hz, *_asked(clip)) for clip in clips]
            waiting.append((file, clips, [pool.submit(_score, *part) for part in parts]))
            if len(waiting) > 1:
                save(*waiting.pop(0))
            progress(f"generated the clips of {number} of {len(missing)} captions")
        for one in waiting:
            save(*one)


def _tries(records: Sequence[ClipRecord], num_prompts: int, seed: int) -> Iterator[Tries]:
    """For each of so many captions of different sources the seeds of its clips."""
    generator = np.random.default_rng(seed)
    by_source: dict[str, ClipRecord] = {}
    for index in generator.permutation(len(records)):
        record = records[index]
        if record.captions:
            by_source.setdefault(str(record.tags.get("source", record.path)), record)
    captions = [record.captions[generator.integers(len(record.captions))] for record in by_source.values()]
    for caption in islice(captions, num_prompts):
        yield Tries(caption, tuple(int(one) for one in generator.integers(2**31, size=NUM_TRIES)))


def _asked(clip: Clip) -> tuple[float | None, str | None, frozenset[str]]:
    """The tempo and the key that were stated or chosen for a clip, and the families that its caption names."""
    info = clip.info or {}
    return info["tempo"], info["key"], families_named(info["text"], FAMILY_OF)


def _best(clips: Sequence[Clip], scores: Sequence[float]) -> Chosen:
    clip = clips[int(np.argmax(scores))]
    info = clip.info or {}
    tags = {"bpm": info["tempo"], "key": info["key"], "chords": info.get("chords"), "first_beat_s": 0.0}
    assert clip.codes is not None
    return Chosen(
        caption=info["text"],
        codes=clip.codes,
        tags={name: value for name, value in tags.items() if value is not None},
        score=max(scores),
        mean_score=float(np.mean(scores)),
    )


def _by_score(one: Chosen) -> float:
    return -one.score


def _write(chosen: Sequence[Chosen], tokens: Path, out_dir: Path) -> None:
    """The corpus with the chosen clips in a shard of their own, each so often that they are half of the corpus."""
    shutil.copytree(tokens, out_dir)
    shards = read_shards(out_dir)
    rows = read_table(out_dir)
    num_frames = {clip.audio: clip.num_frames for shard in shards.values() for clip in shard.clips}
    stored, start = [], 0
    for number, one in enumerate(chosen):
        stored.append(StoredClip(audio=f"chosen:{number}", start_frame=start, num_frames=one.codes.shape[1]))
        start += one.codes.shape[1]
    write_shard(
        shard_path(out_dir, max(shards) + 1), stored, torch.cat([one.codes for one in chosen], 1).to(torch.int16)
    )
    times = max(1, round(sum(num_frames[row.audio] for row in rows if row.split == "train") / start))
    added = [
        ClipRow(
            id=f"chosen/{number}-{copy}",
            audio=f"chosen:{number}",
            split="train",
            captions=(one.caption,),
            tags=one.tags,
        )
        for number, one in enumerate(chosen)
        for copy in range(times)
    ]
    write_table(out_dir, [*rows, *added])


_judge: list[Judge] = []


def fitted_classifier(records: Sequence[ClipRecord], seed: int) -> FamilyClassifier:
    """The judge's ear for instruments, from recordings of the corpus."""
    crops = draw_crops(records, NUM_RECORDINGS, seed)
    playing = [{FAMILY_OF[name] for name in one.tags.get("instrument", ()) if name in FAMILY_OF} for one, _ in crops]
    embedder = load_embedder()
    vectors = [mean_vector(embedder, read_crop(one.path, offset_s)) for one, offset_s in crops]
    return FamilyClassifier.fit(torch.stack(vectors), playing)


def _start_judge(classifier: FamilyClassifier) -> None:
    _judge.append(Judge(load_embedder(), classifier))


def _score(samples: Tensor, sample_rate_hz: int, bpm: float | None, key: str | None, families: frozenset[str]) -> float:
    of_key = None if key is None else parse_key(key)
    asked = TempoKey(bpm=bpm) if of_key is None else TempoKey(bpm=bpm).with_key(of_key)
    return _judge[0].score(Clip(samples, sample_rate_hz), asked, families)
