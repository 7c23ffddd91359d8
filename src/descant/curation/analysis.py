"""Everything that is measured of the files of a folder, each read once, kept by its content.

A file is handled by itself, so results do not depend on the order or on the number of processes. What was measured
before is read from the cache, so an interrupted run continues and a second one is fast.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from descant.audio import Clip
from descant.audio.transforms import resample
from descant.curation import fingerprints
from descant.curation.fingerprints import Fingerprint, fingerprint
from descant.curation.key import Key, estimate_key
from descant.curation.levels import MONO_RATE_HZ, Levels, measure_levels
from descant.curation.tags import tag_probabilities
from descant.curation.tempo import Tempo, estimate_tempo
from descant.errors import AudioError, DataError, without_salvage
from descant.evaluation.embedders import MusicTagger
from descant.process_pool import process_pool
from descant.studies.evaluation.cache import Cache, entry_key
from descant.user_files import sha256_of

VERSION = 3
"""Of the measurements; those of another version are made again."""
MUSIC_S = 90.0
"""Tempo and key are those of this much of the middle of a longer recording."""
_LEVELS, _PRINT, _TAGS, _MUSIC = "levels", "fingerprint", "tags", "tempo and key"


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was measured of a file.

    Args:
        tags: the probability of each of MusiCNN's tags; None if it is too short, or was not wanted.
        tempo, key: None if they cannot be estimated, or were not wanted.
    """

    levels: Levels
    print: Fingerprint
    tags: dict[str, float] | None = None
    tempo: Tempo | None = None
    key: Key | None = None


@dataclass(frozen=True)
class Unreadable:
    """Why a file cannot be measured."""

    reason: str


@dataclass(frozen=True)
class Job:
    """A file, and whether its tempo and key are wanted."""

    path: Path
    needs_music: bool


class Analyser:
    """Measures files.

    Args:
        has_tagger: whether to measure tags, which needs the package ``musicnn``.
        cache: the folder of what was measured before; None keeps nothing.

    Raises:
        MissingExtra: ``musicnn`` is not installed.
        DataError: on ``analyse``, if nothing can be written to the cache.
    """

    def __init__(self, has_tagger: bool, cache: Path | None) -> None:
        self._tagger = MusicTagger.load() if has_tagger else None
        self._cache = None if cache is None else Cache(cache)

    def analyse(self, job: Job) -> Analysis | Unreadable:
        """What is measured of a file, as far as it is not known, or why it cannot be read."""
        try:
            sha256 = sha256_of(job.path)
            known = self._known(sha256)
            missing = [name for name in self._wanted(job) if name not in known]
            fresh = self._measured(job, missing) if missing else {}
        except AudioError as error:
            return Unreadable(without_salvage(str(error)))
        except OSError as error:
            return Unreadable(f"{str(job.path)!r} cannot be read: {error.strerror}")
        self._keep(sha256, fresh)
        known |= fresh
        tempo, key = known.get(_MUSIC, (None, None)) if job.needs_music else (None, None)
        tags = known.get(_TAGS) if self._tagger is not None else None
        return Analysis(known[_LEVELS], known[_PRINT], tags, tempo, key)

    def _wanted(self, job: Job) -> list[str]:
        return [_LEVELS, _PRINT, *[_TAGS] * (self._tagger is not None), *[_MUSIC] * job.needs_music]

    def _measured(self, job: Job, names: Sequence[str]) -> dict[str, Any]:
        levels, mono = measure_levels(job.path)
        measured: dict[str, Any] = {_LEVELS: levels}
        if _PRINT in names:
            measured[_PRINT] = fingerprint(resample(mono[None], MONO_RATE_HZ, fingerprints.SAMPLE_RATE_HZ)[0])
        if _TAGS in names:
            assert self._tagger is not None
            measured[_TAGS] = tag_probabilities(mono, MONO_RATE_HZ, self._tagger)
        if _MUSIC in names:
            middle = _middle(mono)
            measured[_MUSIC] = (
                estimate_tempo(middle),
                estimate_key(Clip(samples=middle[None], sample_rate_hz=MONO_RATE_HZ)),
            )
        return measured

    def _known(self, sha256: str) -> dict[str, Any]:
        if self._cache is None:
            return {}
        known = {}
        for name, (suffix, _, parse) in _FORMATS.items():
            content = self._cache.read(entry_key(sha256, name, VERSION), suffix)
            try:
                if content is not None:
                    known[name] = parse(content)
            except (ValueError, TypeError, KeyError, SafetensorError):  # damaged: measured again
                continue
        return known

    def _keep(self, sha256: str, measured: dict[str, Any]) -> None:
        if self._cache is None:
            return
        for name, value in measured.items():
            suffix, written, _ = _FORMATS[name]
            try:
                self._cache.write(entry_key(sha256, name, VERSION), suffix, written(value))
            except (AudioError, OSError) as error:
                raise DataError(
                    f"what was measured cannot be kept; name another folder with --cache: {error}"
                ) from error


def analyse_files(
    jobs: Sequence[Job],
    *,
    has_tagger: bool,
    cache: Path | None,
    num_processes: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Analysis | Unreadable]:
    """What is measured of each file, in their order.

    Args:
        progress: called with the number of files done and in total.

    Raises:
        MissingExtra: tags are wanted and ``musicnn`` is not installed.
        ProcessLost: a process was ended.
    """
    analyser = Analyser(has_tagger, cache)
    num_processes = min(num_processes, len(jobs))
    if num_processes < 2:
        return list(_counted((analyser.analyse(job) for job in jobs), len(jobs), progress))
    found: list[Analysis | Unreadable | None] = [None] * len(jobs)
    with process_pool(num_processes, _start_worker, has_tagger, cache, option="--workers") as pool:
        waiting: dict[Future[Analysis | Unreadable], int] = {
            pool.submit(_analyse_in_worker, job): number for number, job in enumerate(jobs)
        }
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                found[waiting.pop(future)] = future.result()
            progress(len(jobs) - len(waiting), len(jobs))
    return [one for one in found if one is not None]


def _counted(
    results: Iterator[Analysis | Unreadable], count: int, progress: Callable[[int, int], None]
) -> Iterator[Analysis | Unreadable]:
    for number, result in enumerate(results, start=1):
        progress(number, count)
        yield result


def _middle(mono: Float[Tensor, " N"]) -> Float[Tensor, " M"]:
    size = round(MUSIC_S * MONO_RATE_HZ)
    start = max(0, (len(mono) - size) // 2)
    return mono[start : start + size]


def _parse_levels(content: bytes) -> Levels:
    fields = json.loads(content)
    return Levels(**{**fields, "dead_channels": tuple(fields["dead_channels"])})


def _parse_print(content: bytes) -> Fingerprint:
    tensors = load(content)
    return Fingerprint(tensors["hashes"], tensors["frames"], int(tensors["num_frames"][0]))


def _print_bytes(print: Fingerprint) -> bytes:
    count = np.array([print.num_frames], dtype=np.int32)
    return save({"hashes": print.hashes, "frames": print.frames, "num_frames": count})


def _parse_music(content: bytes) -> tuple[Tempo | None, Key | None]:
    tempo, key = json.loads(content)
    return None if tempo is None else Tempo(**tempo), None if key is None else Key(**key)


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


_FORMATS: dict[str, tuple[str, Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    _LEVELS: (".json", lambda levels: _json_bytes(asdict(levels)), _parse_levels),
    _PRINT: (".safetensors", _print_bytes, _parse_print),
    _TAGS: (".json", _json_bytes, json.loads),
    _MUSIC: (".json", lambda music: _json_bytes([one and asdict(one) for one in music]), _parse_music),
}
"""How each measurement is kept: the suffix, as bytes, and from bytes."""

_worker: list[Analyser] = []


def _start_worker(has_tagger: bool, cache: Path | None) -> None:
    _worker.append(Analyser(has_tagger, cache))


def _analyse_in_worker(job: Job) -> Analysis | Unreadable:
    return _worker[0].analyse(job)
