"""The results of an evaluation: rows of numbers, what was left out and why, and every clip with its own numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from descant.evaluation.report import Estimate, markdown_table
from descant.studies.evaluation.base import Measure, Row
from descant.studies.evaluation.sets import ClipSet
from descant.version import __version__

ARROWS = {"higher": "higher", "lower": "lower", None: "as the reference"}


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """A clip with its numbers by the key of their measure, and its rank.

    Args:
        badness: the mean over its numbers with a better direction of the share of clips that are better, from 0 to 1;
            None if it has none.
    """

    name: str
    file: str
    text: str | None
    values: Mapping[str, float]
    badness: float | None
    is_silent: bool


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of a folder.

    Args:
        columns: the measures of single clips.
        clips: the worst first.
        reference_values: the numbers of the reference clips by the key of their measure.
        left_out: by the name of a metric or the key of a measure, why there is no number.
        embedders: the labels of those that were used, by role.
        settings: what the numbers depend on besides the files.
    """

    generated: ClipSet
    reference: ClipSet | None
    rows: Sequence[Row]
    columns: Sequence[Measure]
    clips: Sequence[ClipResult]
    reference_values: Mapping[str, Sequence[float]]
    left_out: Mapping[str, str]
    notes: Sequence[str]
    embedders: Mapping[str, str]
    settings: Mapping[str, Any]

    def row(self, key: str) -> Row:
        """The row of a measure."""
        return next(row for row in self.rows if row.measure.key == key)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "generated": _described(self.generated),
            "reference": None if self.reference is None else _described(self.reference),
            "metrics": [
                {
                    "metric": row.metric,
                    "measure": row.measure.key,
                    "label": row.measure.label,
                    "better": row.measure.better,
                    **_plain(row.estimate),
                    "reference": None if row.reference is None else _plain(row.reference),
                    "embedder": row.embedder,
                }
                for row in self.rows
            ],
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "embedders": dict(self.embedders),
            "settings": dict(self.settings),
            "clips": [
                {"name": clip.name, "file": clip.file, "text": clip.text, "badness": clip.badness, **clip.values}
                for clip in self.clips
            ],
            "version": __version__,
        }

    def markdown(self) -> str:
        """The table, with what was left out and the notes below it."""
        table = markdown_table(
            ["measure", "generated", "reference", "better", "clips"],
            [
                [
                    row.measure.label,
                    interval_text(row.estimate),
                    "" if row.reference is None else interval_text(row.reference),
                    ARROWS[row.measure.better],
                    row.estimate.count,
                ]
                for row in self.rows
            ],
        )
        lines = [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"embedder: {label}" for label in dict.fromkeys(self.embedders.values())]
        return "\n".join([table, *lines])


def interval_text(estimate: Estimate) -> str:
    """A value with its interval, which a single observation does not have."""
    return str(estimate) if estimate.count > 1 else f"{estimate.value:.3g} (one clip, no interval)"


def badness_of(values: Mapping[str, Mapping[str, float]], columns: Sequence[Measure]) -> dict[str, float | None]:
    """How bad each clip is among the others: 0 for the best by all of its numbers, 1 for the worst.

    Ranks are comparable between measures whose units are not; equal numbers share a rank.
    """
    shares: dict[str, list[float]] = {name: [] for name in values}
    for column in columns:
        if column.better is None:
            continue
        known = {name: of_clip[column.key] for name, of_clip in values.items() if column.key in of_clip}
        signed = np.array(list(known.values())) * (1 if column.better == "lower" else -1)
        if len(signed) < 2:
            continue
        for name, value in zip(known, signed, strict=True):
            better, equal = (signed < value).sum(), (signed == value).sum() - 1
            shares[name].append(float(better + equal / 2) / (len(signed) - 1))
    return {name: sum(found) / len(found) if found else None for name, found in shares.items()}


def _described(clips: ClipSet) -> dict[str, Any]:
    return {
        "folder": str(clips.folder),
        "num_clips": len(clips.files),
        "duration_s": clips.duration_s,
        "broken": {broken.file.name: broken.reason for broken in clips.broken},
    }


def _plain(estimate: Estimate) -> dict[str, Any]:
    has_interval = estimate.count > 1
    return {
        "value": estimate.value,
        "low": estimate.low if has_interval else None,
        "high": estimate.high if has_interval else None,
        "count": estimate.count,
    }
