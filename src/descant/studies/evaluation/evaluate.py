"""Measures a folder of clips, alone or against a reference folder, by every metric that is asked for or possible."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.errors import AudioError, CheckpointError, InvalidRequest, MissingExtra
from descant.evaluation.embedded_clips import EmbeddedClips
from descant.evaluation.embedders import Embedder
from descant.evaluation.report import Estimate, mean_with_interval
from descant.studies.evaluation.base import (
    ClipMetric,
    Measure,
    Metric,
    Need,
    Role,
    Row,
    SetMetric,
    Sets,
)
from descant.studies.evaluation.cache import Cache
from descant.studies.evaluation.embedders import DEFAULTS, load_embedder
from descant.studies.evaluation.measuring import (
    LOUDNESS_LUFS,
    BrokenFile,
    MeasuredClip,
    Measurer,
    MeasurerPlan,
    measure_files,
)
from descant.studies.evaluation.metrics import BY_NAME, METRICS
from descant.studies.evaluation.results import ClipResult, Evaluation, badness_of
from descant.studies.evaluation.sets import ClipSet, broken_line

Report = Callable[[float, float], None]

_MISSING: dict[Need, str] = {
    "reference": "it compares with a reference set; give one (--reference)",
    "same names": "it compares clips of equal names, and some generated clips have none in the reference set",
    "text": "no prompts are known; give a file of them (--prompts), or text files next to the clips",
    "melody": "no melodies are known; give a folder with them (--melody)",
    "training": "it compares with the training set; give a folder of shards (--training)",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Args:
        metrics: names; None computes all that are possible, and says why the others are not.
        embedders: a name, or ``name=place``, or an embedder, for roles whose default is not wanted.
        limit_s: how much of each clip is measured, from its start.
        skip_broken: leaves out files that cannot be read or are too short, and says so.
        cache: the folder where vectors and numbers are kept; None keeps nothing.
        seed: of the draws of intervals.
    """

    metrics: Sequence[str] | None = None
    embedders: Mapping[Role, str | Embedder] | None = None
    limit_s: float | None = None
    skip_broken: bool = False
    cache: Path | None = None
    num_processes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.metrics or ():
            if name not in BY_NAME:
                raise InvalidRequest(f"metrics={name!r:.60}: allowed are {', '.join(BY_NAME)}")
        if self.limit_s is not None and not 0 < self.limit_s < float("inf"):
            raise InvalidRequest(f"limit_s={self.limit_s:g}: must be above 0")
        if self.num_processes < 1:
            raise InvalidRequest(f"num_processes={self.num_processes}: must be at least 1")


def evaluate(
    generated: ClipSet,
    reference: ClipSet | None = None,
    settings: Settings | None = None,
    report: Report = lambda _done, _whole: None,
) -> Evaluation:
    """The numbers of a set.

    Args:
        report: called with the seconds of audio that are done and all of them.

    Raises:
        InvalidRequest: a metric that was asked for cannot be computed, no metric can, or all clips are silent.
        AudioError: a file cannot be read or is too short.
        MissingExtra, CheckpointError: an embedder that was asked for is missing.
    """
    run = _Run(generated, reference, settings or Settings())
    ours = run.measure(generated, report, 0.0)
    theirs = None if reference is None else run.measure(reference, report, generated.duration_s)
    return run.result(ours, theirs)


class _Run:
    """One evaluation: the metrics that are possible with their networks, and the reasons for all others."""

    def __init__(self, generated: ClipSet, reference: ClipSet | None, settings: Settings) -> None:
        self.generated, self.reference, self.settings = generated, reference, settings
        self.left_out: dict[str, str] = {}
        self.notes: list[str] = []
        self.embedders: dict[Role, Embedder] = {}
        self.clip_metrics: list[ClipMetric] = []
        self.set_metrics: list[SetMetric] = []
        given = self._given()
        for kind in METRICS:
            if settings.metrics is None and not kind.is_default:
                self.left_out[kind.name] = f"only if it is asked for (--metrics {kind.name})"
            elif settings.metrics is None or kind.name in settings.metrics:
                self._add(kind, given)
        if not self.clip_metrics and not self.set_metrics:
            raise InvalidRequest(f"none of the metrics can be computed: {'; '.join(self.left_out.values())}")

    def measure(self, clips: ClipSet, report: Report, before_s: float) -> list[MeasuredClip]:
        """The results of all files of a set."""
        roles = [role for role in self.embedders if clips is self.generated or role != "joint" or self._has_same_names]
        embedders = {self.embedders[role].label: self.embedders[role] for role in roles}
        cache = None if self.settings.cache is None else Cache(self.settings.cache)
        measurer = Measurer(list(embedders.values()), self.clip_metrics, cache, self.settings.limit_s)
        all_s = sum(one.duration_s for one in (self.generated, self.reference) if one is not None)
        measured, broken, done_s = [], [], before_s
        for result in measure_files(clips.files, measurer, self._plan(roles), self.settings.num_processes):
            done_s += result.file.duration_s
            report(done_s, all_s)
            if isinstance(result, MeasuredClip):
                measured.append(result)
                continue
            if not self.settings.skip_broken:
                raise AudioError(f"{broken_line(result)}; repair or remove it, or leave such files out (--skip-broken)")
            broken.append(result)
        self._check(clips, measured, broken)
        return measured

    def result(self, ours: Sequence[MeasuredClip], theirs: Sequence[MeasuredClip] | None) -> Evaluation:
        """All rows and all clips."""
        rows: list[Row] = []
        of_clips: dict[str, dict[str, float]] = {clip.file.name: {} for clip in ours}
        columns: list[Measure] = []
        for kind in METRICS:
            for metric in self.clip_metrics:
                if type(metric) is kind:
                    rows += self._clip_rows(metric, ours, theirs, of_clips, columns)
            for of_set in self.set_metrics:
                if type(of_set) is kind:
                    rows += self._set_rows(of_set, ours, theirs, of_clips, columns)
        if not rows:
            raise InvalidRequest(f"none of the metrics could be computed: {'; '.join(self.left_out.values())}")
        badness = badness_of(of_clips, columns)
        results = [
            ClipResult(
                name=clip.file.name,
                file=str(clip.file.path),
                text=clip.file.asked.text,
                values=of_clips[clip.file.name],
                badness=badness[clip.file.name],
                is_silent=clip.is_silent,
            )
            for clip in ours
        ]
        return Evaluation(
            generated=self.generated,
            reference=self.reference,
            rows=rows,
            columns=columns,
            clips=sorted(results, key=lambda clip: (-(-1.0 if clip.badness is None else clip.badness), clip.name)),
            left_out=self.left_out,
            notes=[
                *self.generated.notes("generated"),
                *([] if self.reference is None else self.reference.notes("reference")),
                *self.notes,
            ],
            embedders={role: embedder.label for role, embedder in self.embedders.items()},
            settings={
                "loudness_lufs": LOUDNESS_LUFS,
                "limit_s": self.settings.limit_s,
                "seed": self.settings.seed,
                "metrics": [metric.name for metric in (*self.set_metrics, *self.clip_metrics)],
            },
        )

    def _given(self) -> set[Need]:
        asked = [file.asked for file in self.generated.files]
        given: set[Need] = set()
        if self.reference is not None:
            given.add("reference")
        if self._has_same_names:
            given.add("same names")
        if any(one.text or one.chords for one in asked):
            given.add("text")
        if any(one.melody for one in asked):
            given.add("melody")
        return given

    @property
    def _has_same_names(self) -> bool:
        if self.reference is None:
            return False
        return {file.name for file in self.generated.files} <= {file.name for file in self.reference.files}

    def _add(self, kind: type[Metric], given: set[Need]) -> None:
        """Prepares a metric, or says why it is left out; one that was asked for must be possible."""
        missing = [_MISSING[need] for need in kind.needs if need not in given]
        if missing:
            self._leave_out(kind.name, InvalidRequest(missing[0]))
            return
        try:
            if issubclass(kind, SetMetric):
                self._load(kind.role)
                self.set_metrics.append(kind())
            elif issubclass(kind, ClipMetric):
                self.clip_metrics.append(kind())
        except (MissingExtra, CheckpointError) as error:
            self._leave_out(kind.name, error)

    def _load(self, role: Role) -> None:
        if role not in self.embedders:
            given = (self.settings.embedders or {}).get(role, DEFAULTS[role])
            self.embedders[role] = load_embedder(given, role) if isinstance(given, str) else given

    def _leave_out(self, name: str, error: Exception) -> None:
        if self.settings.metrics is not None:
            raise type(error)(f"{name}: {error}") from error
        self.left_out[name] = str(error)

    def _plan(self, roles: Sequence[Role]) -> MeasurerPlan | None:
        given = {role: (self.settings.embedders or {}).get(role, DEFAULTS[role]) for role in roles}
        names = {name: role for role, name in given.items() if isinstance(name, str)}
        if any(not isinstance(name, str) for name in given.values()):
            return None
        return MeasurerPlan(
            embedders=tuple(names.items()),
            metrics=tuple(type(metric) for metric in self.clip_metrics),
            cache=self.settings.cache,
            limit_s=self.settings.limit_s,
        )

    def _check(self, clips: ClipSet, measured: Sequence[MeasuredClip], broken: Sequence[BrokenFile]) -> None:
        """Refuses a set without music, and notes what is wrong with a part of it."""
        title = "generated" if clips is self.generated else "reference"
        if broken:
            self.notes.append(f"{title}: {len(broken)} clips are left out, first {broken_line(broken[0])}")
        if not measured:
            raise InvalidRequest(f"{str(clips.folder)!r}: no clip can be measured, first {broken_line(broken[0])}")
        silent = [clip.file.name for clip in measured if clip.is_silent]
        if len(silent) == len(measured):
            raise InvalidRequest(f"{str(clips.folder)!r}: all {len(silent)} clips are silent; there is no music to measure")
        if silent:
            self.notes.append(f"{title}: {len(silent)} clips are silent and count as such, first {silent[0]!r}")

    def _clip_rows(
        self,
        metric: ClipMetric,
        ours: Sequence[MeasuredClip],
        theirs: Sequence[MeasuredClip] | None,
        of_clips: dict[str, dict[str, float]],
        columns: list[Measure],
    ) -> list[Row]:
        rows = []
        for measure in metric.measures:
            for clip in ours:
                if (value := clip.values[metric.name][measure.key]) is not None:
                    of_clips[clip.file.name][measure.key] = value
            estimate = self._mean(metric, measure, ours)
            if estimate is None:
                self._none_has(metric, measure)
                continue
            columns.append(measure)
            reference = None if theirs is None else self._mean(metric, measure, theirs)
            rows.append(Row(metric=metric.name, measure=measure, estimate=estimate, reference=reference))
        if theirs is not None:
            further = metric.compare(*([clip.values[metric.name] for clip in clips] for clips in (ours, theirs)))
            rows += [
                Row(metric=metric.name, measure=measure, estimate=estimate) for measure, estimate in further.items()
            ]
        return rows

    def _none_has(self, metric: ClipMetric, measure: Measure) -> None:
        reason = "no clip has a value: nothing of this kind was asked for, or the clips are too short or silent"
        if self.settings.metrics is not None and len(metric.measures) == 1:
            raise InvalidRequest(f"{metric.name}: {reason}")
        self.left_out[measure.key] = reason

    def _mean(self, metric: ClipMetric, measure: Measure, clips: Sequence[MeasuredClip]) -> Estimate | None:
        values = [clip.values[metric.name][measure.key] for clip in clips]
        known = [value for value in values if value is not None]
        return mean_with_interval(known, self.settings.seed) if known else None

    def _set_rows(
        self,
        metric: SetMetric,
        ours: Sequence[MeasuredClip],
        theirs: Sequence[MeasuredClip] | None,
        of_clips: dict[str, dict[str, float]],
        columns: list[Measure],
    ) -> list[Row]:
        embedder = self.embedders[metric.role]
        try:
            scores = metric.measure(
                Sets(
                    embedder=embedder,
                    generated=_embedded(embedder, ours),
                    reference=None if theirs is None else _embedded_if_all(embedder, theirs),
                    texts={clip.file.name: clip.file.asked.text or "" for clip in ours},
                    seed=self.settings.seed,
                )
            )
        except InvalidRequest as error:
            self._leave_out(metric.name, error)
            return []
        self.left_out.update(scores.left_out)
        for measure in metric.measures:
            if measure.key in scores.of_clips:
                columns.append(measure)
                for name, value in scores.of_clips[measure.key].items():
                    of_clips[name][measure.key] = value
        return [
            Row(
                metric=metric.name,
                measure=measure,
                estimate=scores.rows[measure.key],
                reference=scores.references.get(measure.key),
                embedder=embedder.label,
                note=scores.notes.get(measure.key, ""),
            )
            for measure in metric.measures
            if measure.key in scores.rows
        ]


def _embedded(embedder: Embedder, clips: Sequence[MeasuredClip]) -> EmbeddedClips:
    return EmbeddedClips(
        embedder.label, tuple(replace(clip.embedded[embedder.label], name=clip.file.name) for clip in clips)
    )


def _embedded_if_all(embedder: Embedder, clips: Sequence[MeasuredClip]) -> EmbeddedClips | None:
    return _embedded(embedder, clips) if all(embedder.label in clip.embedded for clip in clips) else None
