"""Every file of a set read once: its vectors by all embedders and its numbers by all metrics of single clips.

A clip is handled by itself, so results do not depend on the order or on the number of processes, and only the clips at
hand are in memory. What was computed before is read from the cache instead.
"""

import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.audio import Clip, integrated_loudness
from descant.errors import AudioError, InvalidRequest, naming, without_salvage
from descant.evaluation.embedded_clips import EmbeddedClip, embed_clips
from descant.evaluation.embedders import Embedder
from descant.process_pool import process_pool
from descant.studies.evaluation.base import ClipFile, ClipMetric, Role, Values
from descant.studies.evaluation.cache import Cache, entry_key
from descant.studies.evaluation.embedders import load_embedder
from descant.user_files import sha256_of

LOUDNESS_LUFS = -14.0
"""The level at which clips are embedded, as in audiocraft (arXiv 2306.05284, section 3.2)."""
MIN_FILES_PER_PROCESS = 8
"""Starting a process takes as long as measuring this many clips."""


@dataclass(frozen=True, kw_only=True)
class MeasuredClip:
    """The results of one file.

    Args:
        loudness_lufs: minus infinity for silence.
        embedded: by the label of the embedder.
        values: by the name of the metric.
    """

    file: ClipFile
    loudness_lufs: float
    embedded: Mapping[str, EmbeddedClip]
    values: Mapping[str, Values]

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing above -70 LUFS."""
        return self.loudness_lufs == -math.inf


@dataclass(frozen=True)
class BrokenFile:
    """A file that cannot be measured, and why."""

    file: ClipFile
    reason: str


class Measurer:
    """Measures files with the same embedders and metrics."""

    def __init__(
        self,
        embedders: Sequence[Embedder],
        metrics: Sequence[ClipMetric],
        cache: Cache | None,
        duration_s: float | None,
    ) -> None:
        self.embedders = {embedder.label: embedder for embedder in embedders}
        self.metrics, self.cache, self.duration_s = metrics, cache, duration_s

    def known(self, file: ClipFile) -> MeasuredClip | None:
        """The results of a file if all of them are in the cache."""
        if self.cache is None:
            return None
        level = self.cache.values(self._level_key(file))
        embedded = {
            label: found
            for label in self.embedders
            if (found := self.cache.vectors(file.name, self._vectors_key(file, label))) is not None
        }
        values = {
            metric.name: numbers
            for metric in self.metrics
            if (numbers := self.cache.values(self._values_key(file, metric))) is not None
        }
        loudness_lufs = None if level is None else level.get("loudness_lufs")
        if loudness_lufs is None or len(embedded) < len(self.embedders) or len(values) < len(self.metrics):
            return None
        return MeasuredClip(file=file, loudness_lufs=loudness_lufs, embedded=embedded, values=values)

    def measure(self, file: ClipFile) -> MeasuredClip | BrokenFile:
        """The results of a file, which are kept in the cache; why there are none, if it cannot be used."""
        try:
            return self._measure(file)
        except (AudioError, InvalidRequest) as error:
            return BrokenFile(file, without_salvage(str(error)))

    def _measure(self, file: ClipFile) -> MeasuredClip:
        clip = Clip.read(file.path, duration_s=self.duration_s)
        loudness_lufs = integrated_loudness(clip.samples, clip.sample_rate_hz)
        level = clip.normalize_loudness(LOUDNESS_LUFS)
        with naming(file.name):
            values = {metric.name: metric.measure(clip, file.asked) for metric in self.metrics}
        embedded = {
            label: embed_clips(embedder, [(file.name, level)]).clips[0] for label, embedder in self.embedders.items()
        }
        if self.cache is not None:
            self.cache.keep_values(self._level_key(file), {"loudness_lufs": loudness_lufs})
            for label, vectors in embedded.items():
                self.cache.keep_vectors(self._vectors_key(file, label), vectors)
            for metric in self.metrics:
                self.cache.keep_values(self._values_key(file, metric), values[metric.name])
        return MeasuredClip(file=file, loudness_lufs=loudness_lufs, embedded=embedded, values=values)

    def _level_key(self, file: ClipFile) -> str:
        return entry_key(file.sha256, "level", self.duration_s)

    def _vectors_key(self, file: ClipFile, label: str) -> str:
        return entry_key(file.sha256, "vectors", label, LOUDNESS_LUFS, self.duration_s)

    def _values_key(self, file: ClipFile, metric: ClipMetric) -> str:
        tempo_key = (file.asked.tempo_key.bpm, file.asked.tempo_key.key_name)
        reads_asked = {"text", "tempo", "key", "chords"}.intersection(metric.needs)
        asked = [file.asked.text, file.asked.chords, *tempo_key] if reads_asked else []
        melody = file.asked.melody if "melody" in metric.needs else None
        return entry_key(file.sha256, metric.name, metric.version, asked, melody and sha256_of(melody), self.duration_s)


@dataclass(frozen=True, kw_only=True)
class MeasurerPlan:
    """How another process makes the same ``Measurer``: names instead of networks."""

    embedders: tuple[tuple[str, Role], ...]
    metrics: tuple[type[ClipMetric], ...]
    cache: Path | None
    duration_s: float | None

    def make(self) -> Measurer:
        """A measurer with networks of its own."""
        embedders = [load_embedder(name, role) for name, role in self.embedders]
        cache = None if self.cache is None else Cache(self.cache)
        return Measurer(embedders, [metric() for metric in self.metrics], cache, self.duration_s)


def measure_files(
    files: Sequence[ClipFile], measurer: Measurer, plan: MeasurerPlan | None, num_processes: int
) -> Iterator[MeasuredClip | BrokenFile]:
    """The results of all files in their order.

    Args:
        plan: how other processes make the measurer; without one, everything is done in this process.

    Raises:
        ProcessLost: a process was ended.
    """
    known = {file.name: found for file in files if (found := measurer.known(file)) is not None}
    unknown = [file for file in files if file.name not in known]
    num_processes = min(num_processes, len(unknown) // MIN_FILES_PER_PROCESS)
    if plan is None or num_processes < 2:
        yield from (known.get(file.name) or measurer.measure(file) for file in files)
        return
    with process_pool(num_processes, _start_worker, plan, option="--threads") as pool:
        measured = pool.map(_measure_in_worker, unknown)
        yield from (known.get(file.name) or pickle.loads(next(measured)) for file in files)


_worker: list[Measurer] = []


def _start_worker(plan: MeasurerPlan) -> None:
    _worker.append(plan.make())


def _measure_in_worker(file: ClipFile) -> bytes:
    # Pickled here: multiprocessing would pass each tensor as an open file, and thousands of clips exceed their number.
    return pickle.dumps(_worker[0].measure(file))
