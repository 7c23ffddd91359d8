"""The rows of the table and the numbers of single clips, from what was measured of both sets."""

from collections.abc import Sequence
from dataclasses import replace

from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbeddedClips
from descant.evaluation.embedders import Embedder
from descant.evaluation.report import mean_with_interval
from descant.studies.evaluation.base import (
    ClipMetric,
    Measure,
    Metric,
    Row,
    SetMetric,
    Sets,
    SetScores,
    TrainingMetric,
)
from descant.studies.evaluation.choice import Choice
from descant.studies.evaluation.measuring import MeasuredClip

_NONE_HAS = "no clip has a value: nothing of this kind was asked for, or the clips are too short or silent"


class Table:
    """All rows, filled when it is created.

    Args:
        of_clips: the numbers of the generated clips by name and by the key of their measure.
        columns: the measures of single clips.
        notes: how values are limited.

    Raises:
        InvalidRequest: a metric that was asked for cannot be computed, or none can.
    """

    def __init__(self, choice: Choice, ours: Sequence[MeasuredClip], theirs: Sequence[MeasuredClip] | None) -> None:
        self._choice, self._ours, self._theirs = choice, ours, theirs
        self.rows: list[Row] = []
        self.columns: list[Measure] = []
        self.notes: list[str] = []
        self.of_clips: dict[str, dict[str, float]] = {clip.file.name: {} for clip in ours}
        for metric in choice.metrics:
            if isinstance(metric, ClipMetric):
                self._add_clip_metric(metric)
            elif isinstance(metric, SetMetric):
                self._add_scores(metric, choice.embedders[metric.role])
            elif isinstance(metric, TrainingMetric):
                self._add_scores(metric, None)
        if not self.rows:
            raise InvalidRequest(f"none of the metrics could be computed: {'; '.join(choice.left_out.values())}")

    def reference_values(self) -> dict[str, list[float]]:
        """The numbers of the reference clips by the key of their measure."""
        return {
            measure.key: known
            for metric in self._choice.clip_metrics
            for measure in metric.measures
            if (known := _known(metric, measure, self._theirs or ()))
        }

    def _add_clip_metric(self, metric: ClipMetric) -> None:
        seed = self._choice.settings.seed
        for measure in metric.measures:
            known, of_reference = (_known(metric, measure, clips or ()) for clips in (self._ours, self._theirs))
            if not known:
                self._none_has(metric, measure)
                continue
            for clip in self._ours:
                if (value := clip.values[metric.name][measure.key]) is not None:
                    self.of_clips[clip.file.name][measure.key] = value
            self.columns.append(measure)
            reference = mean_with_interval(of_reference, seed) if of_reference else None
            estimate = mean_with_interval(known, seed)
            self.rows.append(Row(metric=metric.name, measure=measure, estimate=estimate, reference=reference))
        if self._theirs is not None:
            ours, theirs = ([clip.values[metric.name] for clip in clips] for clips in (self._ours, self._theirs))
            for measure, estimate in metric.compare(ours, theirs).items():
                self.rows.append(Row(metric=metric.name, measure=measure, estimate=estimate))

    def _none_has(self, metric: ClipMetric, measure: Measure) -> None:
        if len(metric.measures) == 1:
            self._choice.leave_out(metric.name, InvalidRequest(_NONE_HAS))
        else:
            self._choice.left_out[measure.key] = _NONE_HAS

    def _add_scores(self, metric: SetMetric | TrainingMetric, embedder: Embedder | None) -> None:
        try:
            scores = self._scores(metric, embedder)
        except InvalidRequest as error:
            self._choice.leave_out(metric.name, error)
            return
        self._choice.left_out.update(scores.left_out)
        self.notes += [f"{metric.name}: {note}" for note in scores.notes]
        for measure in metric.measures:
            if measure.key in scores.of_clips:
                self.columns.append(measure)
                for name, value in scores.of_clips[measure.key].items():
                    self.of_clips[name][measure.key] = value
            if measure.key in scores.rows:
                self.rows.append(
                    Row(
                        metric=metric.name,
                        measure=measure,
                        estimate=scores.rows[measure.key],
                        reference=scores.references.get(measure.key),
                        embedder=None if embedder is None else embedder.label,
                    )
                )

    def _scores(self, metric: SetMetric | TrainingMetric, embedder: Embedder | None) -> SetScores:
        settings = self._choice.settings
        if isinstance(metric, TrainingMetric):
            assert settings.training is not None
            return metric.measure([clip.file for clip in self._ours], settings.training)
        assert embedder is not None
        generated = _embedded(embedder, self._ours)
        assert generated is not None
        return metric.measure(
            Sets(
                embedder=embedder,
                generated=generated,
                reference=_embedded(embedder, self._theirs or ()),
                texts={clip.file.name: clip.file.asked.text or "" for clip in self._ours},
                seed=settings.seed,
            )
        )


def _known(metric: Metric, measure: Measure, clips: Sequence[MeasuredClip]) -> list[float]:
    values = (clip.values[metric.name][measure.key] for clip in clips)
    return [value for value in values if value is not None]


def _embedded(embedder: Embedder, clips: Sequence[MeasuredClip]) -> EmbeddedClips | None:
    """The vectors of all clips; None where this embedder did not read the set."""
    if not clips or any(embedder.label not in clip.embedded for clip in clips):
        return None
    # One content under two names is kept once in the cache.
    return EmbeddedClips(
        embedder.label, tuple(replace(clip.embedded[embedder.label], name=clip.file.name) for clip in clips)
    )
