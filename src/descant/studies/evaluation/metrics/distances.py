"""Distances between the generated set and the reference set: Frechet and kernel audio distance."""

from descant.errors import InvalidRequest
from descant.evaluation.frechet import frechet_at_infinity, frechet_audio_distance, frechet_of_each_clip
from descant.evaluation.kernel_distance import kernel_audio_distance
from descant.evaluation.statistics import EmbeddingStatistics
from descant.studies.evaluation.base import Measure, SetMetric, Sets, SetScores

FEW_CLIPS = 10
"""Resamples of fewer clips hardly vary."""

_OF_SET = Measure(key="fad", label="Frechet audio distance", better="lower")
_AT_INFINITY = Measure(key="fad_infinity", label="Frechet audio distance, infinitely many clips", better="lower")
_OF_CLIP = Measure(key="fad_clip", label="Frechet distance of the clip", better="lower")


class FrechetDistance(SetMetric):
    """Of the set, extrapolated to an infinite set, and of each clip."""

    name = "fad"
    help = "Frechet audio distance to the reference set, also extrapolated to infinite sets and of each clip"
    needs = ("reference",)
    role = "embedder"
    measures = (_OF_SET, _AT_INFINITY, _OF_CLIP)

    def measure(self, sets: Sets) -> SetScores:
        assert sets.reference is not None
        statistics = EmbeddingStatistics.of_clips(sets.reference)
        rows = {"fad": frechet_audio_distance(statistics, sets.generated, seed=sets.seed)}
        of_clips, left_out = {}, {}
        try:
            rows["fad_infinity"] = frechet_at_infinity(statistics, sets.generated, seed=sets.seed)
        except InvalidRequest as error:
            left_out["fad_infinity"] = str(error)
        try:
            of_clips["fad_clip"] = frechet_of_each_clip(statistics, sets.generated)
        except InvalidRequest as error:
            left_out["fad_clip"] = str(error)
        return SetScores(rows=rows, of_clips=of_clips, left_out=left_out)


class KernelDistance(SetMetric):
    """Without bias in small sets."""

    name = "kad"
    help = "kernel audio distance to the reference set, unbiased also for few clips"
    needs = ("reference",)
    role = "embedder"
    measures = (Measure(key="kad", label="kernel audio distance", better="lower"),)

    def measure(self, sets: Sets) -> SetScores:
        assert sets.reference is not None
        num_clips = len(sets.generated.clips)
        return SetScores(
            rows={"kad": kernel_audio_distance(sets.reference, sets.generated, seed=sets.seed)},
            notes=[f"an interval over {num_clips} clips means little; give more"] if num_clips < FEW_CLIPS else [],
        )
