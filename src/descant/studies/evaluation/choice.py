"""Which metrics an evaluation computes, with their networks, and why it leaves the others out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from descant.errors import CheckpointError, InvalidRequest, MissingExtra
from descant.evaluation.embedders import Embedder
from descant.studies.evaluation.base import ClipMetric, Metric, Need, Role, SetMetric, Training
from descant.studies.evaluation.embedders import DEFAULTS, check_embedder, load_embedder
from descant.studies.evaluation.measuring import MeasurerPlan
from descant.studies.evaluation.metrics import BY_NAME, METRICS
from descant.studies.evaluation.sets import ClipSet

_MISSING: dict[Need, str] = {
    "reference": "it compares with a reference set; give one (--reference)",
    "same names": "it compares clips of equal names, and some generated clips have none in the reference set",
    "text": "no prompts are known; give a file of them (--prompts), or text files next to the clips",
    "tempo": "no prompt states a tempo, and no tags of a generated file have one",
    "key": "no prompt states a key, and no tags of a generated file have one",
    "chords": "no chords are known, from tags of generated files or .json files next to the clips",
    "melody": "no melodies are known; give a folder with them (--melody)",
    "training": "it compares with the training set; give a folder of shards (--training)",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Args:
        metrics: names; None computes all that are possible, and says why the others are not.
        embedders: a name, or ``name=place``, or an embedder, for roles whose default is not wanted.
        duration_s: how much of each clip is measured, from its start.
        skip_broken: leaves out files that cannot be read or are too short, and says so.
        cache: the folder where vectors and numbers are kept; None keeps nothing.
        num_processes: that measure files; more than one are spawned, so a calling script needs
            ``if __name__ == "__main__"``.
        seed: of the draws of intervals.
        training: the training set, to find what is copied from it.
    """

    metrics: Sequence[str] | None = None
    embedders: Mapping[Role, str | Embedder] = field(default_factory=dict)
    duration_s: float | None = None
    skip_broken: bool = False
    cache: Path | None = None
    num_processes: int = 1
    seed: int = 0
    training: Training | None = None

    def __post_init__(self) -> None:
        for name in self.metrics or ():
            if name not in BY_NAME:
                raise InvalidRequest(f"metrics={name!r:.60}: allowed are {', '.join(BY_NAME)}")
        for role, embedder in self.embedders.items():
            if isinstance(embedder, str):
                check_embedder(embedder, role)
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise InvalidRequest(f"duration_s={self.duration_s:g}: must be above 0")
        if self.num_processes < 1:
            raise InvalidRequest(f"num_processes={self.num_processes}: must be at least 1")


class Choice:
    """The metrics of an evaluation, in the order of the table.

    Raises:
        InvalidRequest: none can be computed, or one that was asked for cannot.
        MissingExtra, CheckpointError: what one that was asked for needs is not installed.
    """

    def __init__(self, generated: ClipSet, reference: ClipSet | None, settings: Settings) -> None:
        self.settings = settings
        self.left_out: dict[str, str] = {}
        self.embedders: dict[Role, Embedder] = {}
        self.metrics: list[Metric] = []
        self.has_same_names = reference is not None and {file.name for file in generated.files} <= {
            file.name for file in reference.files
        }
        given = self._given(generated, reference)
        for kind in METRICS:
            if settings.metrics is None and not kind.is_default:
                self.left_out[kind.name] = f"only if it is asked for (--metrics {kind.name})"
            elif settings.metrics is None or kind.name in settings.metrics:
                self._add(kind, given)
        if not self.metrics:
            raise InvalidRequest(f"none of the metrics can be computed: {'; '.join(self.left_out.values())}")

    @property
    def clip_metrics(self) -> list[ClipMetric]:
        """Those of single clips."""
        return [metric for metric in self.metrics if isinstance(metric, ClipMetric)]

    def leave_out(self, name: str, error: Exception) -> None:
        """Records why a metric is not computed; one that was asked for raises the error."""
        if self.settings.metrics is not None:
            raise type(error)(f"{name}: {error}") from error
        self.left_out[name] = str(error)

    def plan(self, roles: Sequence[Role]) -> MeasurerPlan | None:
        """How another process makes the same measurer; None if an embedder was given as an object."""
        given = {role: self.settings.embedders.get(role, DEFAULTS[role]) for role in roles}
        named = {name: role for role, name in given.items() if isinstance(name, str)}
        if any(not isinstance(name, str) for name in given.values()):
            return None
        return MeasurerPlan(
            embedders=tuple(named.items()),
            metrics=tuple(type(metric) for metric in self.clip_metrics),
            cache=self.settings.cache,
            duration_s=self.settings.duration_s,
        )

    def _given(self, generated: ClipSet, reference: ClipSet | None) -> set[Need]:
        asked = [file.asked for file in generated.files]
        conditions: dict[Need, bool] = {
            "reference": reference is not None,
            "same names": self.has_same_names,
            "text": any(one.text for one in asked),
            "tempo": any(one.tempo_key.bpm is not None for one in asked),
            "key": any(one.tempo_key.is_minor is not None for one in asked),
            "chords": any(one.chords for one in asked),
            "melody": any(one.melody for one in asked),
            "training": self.settings.training is not None,
        }
        return {need for need, is_given in conditions.items() if is_given}

    def _add(self, kind: type[Metric], given: set[Need]) -> None:
        missing = [_MISSING[need] for need in kind.needs if need not in given]
        if missing:
            self.leave_out(kind.name, InvalidRequest(missing[0]))
            return
        try:
            if issubclass(kind, SetMetric):
                self._load(kind.role)
            self.metrics.append(kind())
        except (MissingExtra, CheckpointError) as error:
            self.leave_out(kind.name, error)

    def _load(self, role: Role) -> None:
        if role not in self.embedders:
            given = self.settings.embedders.get(role, DEFAULTS[role])
            self.embedders[role] = load_embedder(given, role) if isinstance(given, str) else given
