"""The rows of one request in the language model's batch: its conditions, and what guidance pushes away from.

A guidance term is a row after the first one; terms apply in the order of their rows. Text and melody scales come first,
so that the last term weighs all conditions against the negative text (arXiv 2407.12563, section 4.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from descant.generation.guidance import Scales
from descant.generation.plan import Section
from descant.generation.resolve import ResolvedRequest
from descant.tempo_key import UNKNOWN

ScalePoints: TypeAlias = Sequence[tuple[float, float]]
"""Points (second, scale) of a line that stays constant after the last one; the first is at 0."""


@dataclass(frozen=True)
class ConditionRow:
    """One row.

    Args:
        conditions: by name; one that is absent or None is the null condition.
        section: the section whose tempo it follows.
        scales: how strongly guidance pushes away from this row; empty for the first row, which it pushes towards.
    """

    conditions: Mapping[str, Any]
    section: Section
    scales: ScalePoints = ()


def rows_of(request: ResolvedRequest, section: Section) -> list[ConditionRow]:
    """The rows of a request in one of its sections."""
    guidance = request.guidance
    conditions = {"text": section.text, **request.conditions}
    if section.fallback != UNKNOWN:
        conditions["tempo_key"] = section.tempo_key
    rows = [ConditionRow(conditions, section)]
    for name, scale in (("text", guidance.text_scale), ("melody", guidance.melody_scale)):
        if scale is not None and scale != 1:
            rows.append(ConditionRow(_without(conditions, name), section, ((0.0, scale),)))
    if guidance.scale != 1 or guidance.schedule:
        text = request.negative_text
        # The negative text has a tempo of its own, whose beats count from the beginning.
        rows.append(ConditionRow({"text": text}, Section(0, text), ((0.0, guidance.scale), *guidance.schedule)))
    return rows


def _without(conditions: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The conditions without one of them; tempo and key go with the text, as in training."""
    dropped = {"text", "tempo_key"} if name == "text" else {name}
    return {**conditions, **dict.fromkeys(dropped & set(conditions))}


def scales_by_step(points: ScalePoints, seconds: Float[Tensor, " S"]) -> Scales:
    """The scale of each step; a single value if it is constant.

    Args:
        seconds: the beginning of the frame that each input step predicts.
    """
    if len(points) == 1:
        return (points[0][1],)
    by_input = tuple(_interpolate(points, second) for second in seconds.tolist())
    # An input step predicts the codes of the step after it.
    return by_input[:1] + by_input[:-1]


def _interpolate(points: ScalePoints, second: float) -> float:
    later = next((index for index, point in enumerate(points) if point[0] > second), None)
    if later is None:
        return points[-1][1]
    (start, low), (end, high) = points[later - 1], points[later]
    return low + (high - low) * (second - start) / (end - start)
