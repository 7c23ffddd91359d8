"""Measures what the data of a training run costs, and prints one JSON object for each measurement.

::

    OMP_NUM_THREADS=1 python -m benchmarks.data tokenize
    OMP_NUM_THREADS=1 python -m benchmarks.data loading

Both sides of a comparison are measured in turns. Seconds need a machine with nothing else to do; processor seconds,
which are given too, depend less on that.
"""

import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import descant
from benchmarks.named import take_named
from descant.codec.spec import codec_spec
from descant.data.clip_table import ClipRow, write_table
from descant.data.shard_index import ShardIndex, write_index
from descant.data.shards import StoredClip, shard_path, write_shard
from descant.data.token_dataset import TokenBatch, TokenBatchConfig, TokenBatches
from descant.model import MusicGenModel
from descant.training.encoded_texts import encoding_texts
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.prefetch import Prefetcher
from descant.training.prepared_batches import BLOCK, PreparedBatches
from descant.training.trainer_config import TrainerConfig
from descant.training.update import Updater

RATE_HZ = 32_000
WORDS = ("warm", "slow", "piano", "bright", "fast", "guitar", "calm", "drums", "strings", "low")


def tokenize(clips: int = 512, clip_s: float = 30.0, turns: int = 3, workers: int = 2) -> dict[str, Any]:
    """The time of ``data tokenize`` in one process and in several; that of the start is a run with a few short clips.

    Raises:
        AssertionError: the shards are not the same bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, count, seconds in (("all", clips, clip_s), ("few", workers, 1.0)):
            _write_music(root / name, count, seconds)
            _descant("data", "scan", root / name, "--json")
        taken: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for turn in range(turns):
            for name, number in itertools.product(("all", "few"), (1, workers)):
                out = root / f"{name}-{number}-{turn}"
                options = ("-o", out, "--workers", number, "--device", "cpu", "--json")
                both = _descant("data", "tokenize", root / name / "manifest.jsonl", *options)
                taken.setdefault((name, number), []).append(both)
        ours, theirs = (_contents(root / f"all-{number}-0") for number in (1, workers))
        assert ours == theirs, f"the folders of 1 and of {workers} processes differ"

    def of(name: str, number: int, which: int) -> list[float]:
        return [both[which] for both in taken[name, number]]

    def less_start(number: int, which: int) -> list[float]:
        return [one - start for one, start in zip(of("all", number, which), of("few", number, which), strict=True)]

    def ratio(one: list[float], other: list[float]) -> float:
        return statistics.median(mine / theirs for mine, theirs in zip(one, other, strict=True))

    return {
        "audio_s": clips * clip_s,
        "workers": workers,
        "threads_of_one": torch.get_num_threads(),
        "seconds": {f"{name}-{number}": of(name, number, 0) for name, number in taken},
        "processor_seconds": {f"{name}-{number}": of(name, number, 1) for name, number in taken},
        "times_as_fast": ratio(of("all", 1, 0), of("all", workers, 0)),
        "times_as_fast_without_start": ratio(less_start(1, 0), less_start(workers, 0)),
        "processor_seconds_ratio_without_start": ratio(less_start(workers, 1), less_start(1, 1)),
        "same_bytes": True,
    }


def loading(steps: int = BLOCK, turns: int = 3, batch_size: int = 8, segment_frames: int = 500) -> dict[str, Any]:
    """What reading crops and encoding their captions takes of an update of the starter, and what it adds to its time.

    Args:
        steps: of each turn; batches are prepared in blocks, of which it must be a multiple.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = descant.load("starter", device="cpu", precision="fp32").model
        _write_codes(Path(folder), model)
        batches = TokenBatches(folder, TokenBatchConfig(batch_size=batch_size, segment_frames=segment_frames))
        model.lm.requires_grad_(True)
        task = LMTask(model, LMTaskConfig())
        updater = Updater(task, TrainerConfig(max_steps=1_000), torch.device("cpu"))
        taken: dict[str, list[float]] = {name: [] for name in ("loading", "updates", "alone", "beside", "waiting")}
        with encoding_texts(model, max_bytes=0):
            source = PreparedBatches(batches, task.prepare_ahead)
            # The first ones also compare checksums, which is done once.
            ready = [source.batch(number) for number in range(steps)]
            updater.update(0, ready[:1])
            numbers = itertools.count(steps)
            for _ in range(turns):
                began_s = time.process_time()
                for number in itertools.islice(numbers, steps):
                    source.batch(number)
                taken["loading"].append((time.process_time() - began_s) / steps)
                began_s = time.process_time()
                taken["alone"].append(_update_seconds(updater, iter(ready), steps)[0])
                taken["updates"].append((time.process_time() - began_s) / steps)
                with Prefetcher(source, [*itertools.islice(numbers, steps)]) as prefetcher:
                    seconds, waiting = _update_seconds(updater, iter(prefetcher.next_batch, None), steps)
                taken["beside"].append(seconds)
                taken["waiting"].append(waiting)

    def share(part: str, whole: str) -> float:
        return statistics.median(one / other for one, other in zip(taken[part], taken[whole], strict=True))

    return {
        "frames": batch_size * segment_frames,
        "threads": torch.get_num_threads(),
        "processor_seconds": {name: taken[name] for name in ("loading", "updates")},
        "seconds": {name: taken[name] for name in ("alone", "beside", "waiting")},
        "loading_share": share("loading", "updates"),
        "waiting_share": share("waiting", "beside"),
        "times_as_long_with_loading": share("beside", "alone"),
    }


def _update_seconds(updater: Updater, batches: Iterator[TokenBatch], steps: int) -> tuple[float, float]:
    """The seconds of an update, and those of them that it waited for its batch."""
    began_s, waited_s = time.perf_counter(), 0.0
    for step in range(steps):
        asked_s = time.perf_counter()
        batch = next(batches)
        waited_s += time.perf_counter() - asked_s
        updater.update(step, [batch])
    return (time.perf_counter() - began_s) / steps, waited_s / steps


def _write_music(folder: Path, clips: int, clip_s: float) -> None:
    """So many clips of noise, each another one."""
    folder.mkdir()
    for number in range(clips):
        generator = torch.Generator().manual_seed(number)
        samples = 0.1 * torch.randn(1, round(clip_s * RATE_HZ), generator=generator)
        descant.Clip(samples, RATE_HZ).save(folder / f"{number:05d}.flac")


def _write_codes(folder: Path, model: MusicGenModel, clips: int = 64, clip_s: float = 180.0) -> None:
    """A folder of random codes, in shards of sixteen clips, with captions."""
    codec = codec_spec(model.codec)
    write_index(folder, ShardIndex(codec=codec, window_s=60.0))
    num_frames, rows = round(clip_s * codec.frame_rate_hz), []
    words = random.Random(0)
    for shard, numbers in enumerate(range(clips)[at : at + 16] for at in range(0, clips, 16)):
        stored = [
            StoredClip(audio=str(number), start_frame=at * num_frames, num_frames=num_frames)
            for at, number in enumerate(numbers)
        ]
        shape = (codec.num_codebooks, num_frames * len(stored))
        write_shard(shard_path(folder, shard), stored, torch.randint(codec.codebook_size, shape).short())
        rows += [
            ClipRow(id=clip.audio, audio=clip.audio, split="train", captions=(" ".join(words.sample(WORDS, 4)),))
            for clip in stored
        ]
    write_table(folder, rows)


def _descant(*words: object) -> tuple[float, float]:
    """The seconds and the processor seconds of a command, with those of its processes."""
    began_s = time.perf_counter()
    command = [sys.executable, "-m", "descant", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        _, status, used = os.wait4(process.pid, 0)
    assert status == 0, errors
    return time.perf_counter() - began_s, used.ru_utime + used.ru_stime


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


MEASUREMENTS = {one.__name__: one for one in (tokenize, loading)}


if __name__ == "__main__":
    take_named(__doc__, MEASUREMENTS)
