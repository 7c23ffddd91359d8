"""Whether the music moves: holds, chord changes, onsets and repetition, next to those of the reference set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from descant.audio import Clip
from descant.evaluation.movement import MIN_REFERENCE, SHORTEST_S, Movement, measure_movement, within_reference
from descant.evaluation.musical import require_librosa
from descant.evaluation.report import Estimate, rate_with_interval
from descant.studies.evaluation.base import Asked, ClipMetric, Measure, Values

_MEASURES = (
    Measure(key="longest_hold_s", label="longest hold of the pitches, s"),
    Measure(key="chord_changes_per_minute", label="chord changes per minute"),
    Measure(key="onsets_per_second", label="onsets per second"),
    Measure(key="bar_self_similarity", label="resemblance to itself a bar later"),
)


class MusicMoves(ClipMetric):
    """The measures of movement, and the share of clips for which each is usual in the reference set."""

    name = "movement"
    help = "longest hold, chord changes, onsets, repetition at the bar, and how usual they are in the reference set"
    measures = _MEASURES

    def __init__(self) -> None:
        require_librosa()

    def measure(self, clip: Clip, asked: Asked) -> Values:
        del asked
        if clip.duration_s < SHORTEST_S:
            return dict.fromkeys((measure.key for measure in _MEASURES), None)
        return asdict(measure_movement(clip))

    def compare(self, generated: Sequence[Values], reference: Sequence[Values]) -> Mapping[Measure, Estimate]:
        shares = {}
        for measure in _MEASURES:
            ours, theirs = (_with_only(measure.key, clips) for clips in (generated, reference))
            if not ours or len(theirs) < MIN_REFERENCE:
                continue
            usual = [within_reference(one, theirs)[measure.key].is_typical for one in ours]
            name = Measure(key=f"{measure.key}_usual", label=f"share with a usual {measure.label}", better="higher")
            shares[name] = rate_with_interval(sum(usual), len(usual))
        return shares


def _with_only(key: str, clips: Sequence[Values]) -> list[Movement]:
    """The movements of the clips that have this number, without most of the others, which fewer clips may have."""
    movements = []
    for values in clips:
        onsets = values["onsets_per_second"]
        if onsets is None or values[key] is None:
            continue
        others = {measure.key: None for measure in _MEASURES} | {"onsets_per_second": onsets, key: values[key]}
        movements.append(Movement(**others))  # type: ignore[arg-type]
    return movements
