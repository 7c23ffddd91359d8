"""All metrics, in the order of the table."""

from descant.studies.evaluation.base import Metric
from descant.studies.evaluation.metrics.agreement import Chords, Instruments, Key, MelodyCosine, Tempo
from descant.studies.evaluation.metrics.checks import SignalFaults
from descant.studies.evaluation.metrics.distances import FrechetDistance, KernelDistance
from descant.studies.evaluation.metrics.labels_and_text import LabelDivergence, TextAgreement
from descant.studies.evaluation.metrics.memorisation import Memorisation
from descant.studies.evaluation.metrics.movement import MusicMoves

METRICS: tuple[type[Metric], ...] = (
    FrechetDistance,
    KernelDistance,
    LabelDivergence,
    TextAgreement,
    MelodyCosine,
    Tempo,
    Key,
    Chords,
    Instruments,
    MusicMoves,
    SignalFaults,
    Memorisation,
)

BY_NAME = {metric.name: metric for metric in METRICS}
