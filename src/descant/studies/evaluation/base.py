"""What a metric is: its name, what it needs, the numbers it gives, and the function that computes them.

There are two kinds. A ``ClipMetric`` gives numbers of one clip, of which the table shows the means; a ``SetMetric``
compares whole sets as vectors of an embedder. A new one is a class in a file of ``metrics/`` and an entry in its list.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from descant.audio import Clip
from descant.evaluation.embedded_clips import EmbeddedClips
from descant.evaluation.embedders import Embedder
from descant.evaluation.report import Estimate
from descant.tempo_key import UNKNOWN, TempoKey, parse_tempo_key

Need = Literal["reference", "same names", "text", "tempo", "key", "chords", "melody", "training"]
"""What a metric needs besides the clips: a reference set, in it a clip of the name of each generated one, prompts, a
tempo, a key or chords that were asked for or chosen, melodies, or the codes of the training set."""
Role = Literal["embedder", "labeller", "text_embedder"]
"""Which embedder a metric of sets reads: for distances, for labels, or the one with texts in the same space."""
Direction = Literal["higher", "lower"]
Values: TypeAlias = Mapping[str, float | None]
"""A clip's numbers by the key of their measure; None where a number is not defined for this clip."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a clip was made from, as far as it is known.

    Args:
        chords: as ``descant generate --chords`` takes them.
        recorded: the tempo and the key in the tags of a generated file: those asked for, or else those chosen.
    """

    text: str | None = None
    chords: str | None = None
    melody: Path | None = None
    recorded: TempoKey = UNKNOWN

    @property
    def tempo_key(self) -> TempoKey:
        """What the text states, and what is recorded where it states nothing."""
        return parse_tempo_key(self.text).completed(self.recorded)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number that a metric gives.

    Args:
        better: the better direction; None where neither is, as for the speed of the music: compare with the reference.
    """

    key: str
    label: str
    better: Direction | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table.

    Args:
        estimate: of the generated clips.
        reference: of the reference clips, where the number exists for them too.
        embedder: the label of the embedder that it was made with.
    """

    metric: str
    measure: Measure
    estimate: Estimate
    reference: Estimate | None = None
    embedder: str | None = None


class Metric(ABC):
    """A metric with its name on the command line, a line of help, and the numbers that it gives."""

    name: ClassVar[str]
    help: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()
    measures: ClassVar[tuple[Measure, ...]]
    is_default: ClassVar[bool] = True
    """Whether it is computed without being asked for, where what it needs is given."""


class ClipMetric(Metric):
    """A metric of single clips. Creating one reads the networks that it needs.

    Its numbers depend only on the clip's audio and on what was asked, so they are kept by the content of the file.
    """

    version: ClassVar[str] = "1"
    """Another version makes numbers that were kept invalid."""

    @abstractmethod
    def measure(self, clip: Clip, asked: Asked) -> Values:
        """The numbers of a clip, None where nothing was asked or the clip is too short for an estimate."""

    def compare(self, generated: Sequence[Values], reference: Sequence[Values]) -> Mapping[Measure, Estimate]:
        """Further numbers, from those of both sets."""
        del generated, reference
        return {}


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The two sets as vectors of one embedder; ``reference`` is None where a metric does not need it.

    Args:
        texts: the prompts by the names of the clips.
        seed: of the draws of intervals.
    """

    embedder: Embedder
    generated: EmbeddedClips
    reference: EmbeddedClips | None
    texts: Mapping[str, str]
    seed: int


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """What a metric of sets gives.

    Args:
        rows: by the key of their measure, the estimate of the generated set.
        references: the same of the reference set, where it exists.
        of_clips: by the key of their measure, the numbers of single clips.
        left_out: by the key of their measure, why a number could not be computed.
        notes: how values are limited.
    """

    rows: Mapping[str, Estimate]
    references: Mapping[str, Estimate] = field(default_factory=dict)
    of_clips: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ClipFile:
    """A file of a set; ``sha256`` is of its content."""

    name: str
    path: Path
    sha256: str
    duration_s: float
    sample_rate_hz: int
    asked: Asked


@dataclass(frozen=True, kw_only=True)
class Training:
    """A folder of shards, and the model whose codec made the codes in it."""

    folder: Path
    model: str


class TrainingMetric(Metric):
    """A metric that compares the codes of the files with the training set."""

    @abstractmethod
    def measure(self, files: Sequence[ClipFile], training: Training) -> SetScores:
        """The numbers of the generated set.

        Raises:
            InvalidRequest: the codes do not compare, or a clip is too short.
        """


class SetMetric(Metric):
    """A metric of sets of clips as vectors."""

    role: ClassVar[Role]

    @abstractmethod
    def measure(self, sets: Sets) -> SetScores:
        """The numbers of the generated set.

        Raises:
            InvalidRequest: it is not defined for these sets, for example because they have too few clips.
        """
