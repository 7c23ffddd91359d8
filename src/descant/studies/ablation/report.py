"""The page of a study: tables in Markdown and a plot, from the file of results alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from descant.atomic import write_atomically
from descant.errors import InvalidRequest, MissingExtra
from descant.evaluation.report import Estimate, markdown_table, mean_with_interval
from descant.studies.ablation.results import lines_of
from descant.studies.ablation.study import LINES_STUDY, Study
from descant.studies.plot_style import SETTINGS

QUALITY = {
    "nats_per_frame": "nats a frame",
    "frechet": "Frechet distance",
    "kernel": "kernel distance",
    "label_kl": "label KL",
    "sampling_processor_s": "sampling, s",
}
AGREEMENT = {
    "caption_gain": "caption gain, nats a frame",
    "tempo": "tempo",
    "key": "key",
    "melody": "melody",
    "melody_by_chance": "melody of another",
    "copied": "codes copied",
    "copied_by_chance": "codes of another",
}
MOVEMENT = {
    "longest_hold_s": "longest hold, s",
    "chord_changes_per_minute": "chord changes a minute",
    "onsets_per_second": "onsets a second",
    "bar_self_similarity": "self-similarity at the bar",
}
"""The columns of the three tables: measures by their names in the results, and their titles."""
PLOTTED = ("nats_per_frame", "frechet", "kernel", "label_kl")


def write_report(study: Study, lines: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Writes ``NAME.md`` and ``NAME.svg`` into the folder and gives their paths.

    Args:
        lines: of the whole file of results.

    Raises:
        InvalidRequest: the study has no line yet.
        MissingExtra: matplotlib is not installed.
    """
    own = lines_of([dict(line) for line in lines], study.name)
    if not own:
        raise InvalidRequest(f"{study.name}: no row of it is in the results yet")
    folder.mkdir(parents=True, exist_ok=True)
    page, plot = folder / f"{study.name}.md", folder / f"{study.name}.svg"
    write_atomically(page, markdown(study, lines).encode())
    draw(study, own, plot)
    return [page, plot]


def markdown(study: Study, lines: Sequence[Mapping[str, Any]]) -> str:
    """The page of a study."""
    every = [dict(line) for line in lines]
    own = by_row(study, lines_of(every, study.name))
    references = {str(line["row"]): [line] for line in lines_of(every, LINES_STUDY)}
    first = next(iter(own))
    parts = [f"# {study.title.rstrip('.')}", study.text, "## Rows", _rows_list(study, own), "## Budget", _budget(own)]
    parts += ["## Quality", _table(own, references, QUALITY)]
    if len(own) > 1:
        parts += [f"### Nats a frame against `{first}`", _differences(own, first)]
    parts += ["## Agreement and copying", _table(own, references, AGREEMENT)]
    parts += ["## Movement", _table(own, references, MOVEMENT)]
    if study.name == "scale":
        parts += ["## Nats a frame by genre", _genres(own)]
    parts += [f"![nats a frame and distances]({study.name}.svg)", "## How it was made", _provenance(own)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def by_row(study: Study, lines: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The lines of each row in the order of the recipe, by seed; rows without a line are left out."""
    rows = {row: [line for line in lines if line["row"] == row] for row in study.rows}
    return {row: sorted(found, key=lambda line: line["seed"]) for row, found in rows.items() if found}


def over_seeds(lines: Sequence[Mapping[str, Any]], name: str) -> Estimate | float | None:
    """A measure's mean over the seeds that have it, with the hull of their intervals; None if none has."""
    values = [line[name] for line in lines if line.get(name) is not None]
    if not values:
        return None
    if not isinstance(values[0], Mapping):
        return float(np.mean(values))
    return Estimate(
        float(np.mean([value["value"] for value in values])),
        min(value["low"] for value in values),
        max(value["high"] for value in values),
        values[0]["count"],
    )


def difference(lines: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> Estimate:
    """Nats a frame of a row less those of another one, crop by crop, each the mean over the seeds."""
    ours, theirs = (
        np.mean([line["nats_per_frame_of_each_crop"] for line in group], axis=0) for group in (lines, others)
    )
    return mean_with_interval((ours - theirs).tolist())


def draw(study: Study, lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Draws the main measures of every row with their intervals."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots need matplotlib: pip install descant[eval]") from error
    rows = by_row(study, lines)
    shown = [name for name in PLOTTED if any(line.get(name) for line in lines)]
    with matplotlib.rc_context(cast(Any, SETTINGS)):
        figure = Figure(figsize=(2.4 * len(shown) + 1.2, 0.3 * len(rows) + 1.0), layout="constrained")
        for column, name in enumerate(shown):
            axes = figure.add_subplot(1, len(shown), column + 1, xlabel=QUALITY[name])
            for place, found in enumerate(rows.values()):
                value = over_seeds(found, name)
                if isinstance(value, Estimate):
                    axes.plot([value.low, value.high], [place, place], color="C0", linewidth=1)
                    axes.plot([line[name]["value"] for line in found], [place] * len(found), "o", color="C0", ms=3)
            axes.set_yticks(range(len(rows)), list(rows) if column == 0 else [""] * len(rows))
            axes.set_ylim(len(rows) - 0.5, -0.5)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _rows_list(study: Study, rows: Mapping[str, Any]) -> str:
    return "\n".join(f"- `{name}`: {' '.join((study.rows[name].__doc__ or '').split())}" for name in rows)


def _budget(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    header = [
        "row",
        "seeds",
        "parameters, M",
        "updates",
        "hours read",
        "positions, M",
        "times layers, M",
        "training, s",
    ]
    table = []
    for name, lines in rows.items():
        line = lines[0]
        table.append(
            [
                f"`{name}`",
                len(lines),
                line["parameters"] / 1e6,
                line["updates"],
                line["frames"] / line["frame_rate_hz"] / 3_600,
                line["positions"] / 1e6,
                line["positions_times_layers"] / 1e6,
                round(float(np.mean([one["training_processor_s"] for one in lines]))),
            ]
        )
    return markdown_table(header, table)


def _table(
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    references: Mapping[str, Sequence[Mapping[str, Any]]],
    columns: Mapping[str, str],
) -> str:
    """The measures of every row, below them those of the recordings and of the codec."""
    every = {**{f"`{name}`": lines for name, lines in rows.items()}, **references}
    shown = {name: title for name, title in columns.items() if any(over_seeds(lines, name) for lines in rows.values())}
    table = [[row, *(_text(over_seeds(lines, name)) for name in shown)] for row, lines in every.items()]
    return markdown_table(["row", *shown.values()], table)


def _text(value: Estimate | float | None) -> Any:
    return "" if value is None else value


def _differences(rows: Mapping[str, Sequence[Mapping[str, Any]]], first: str) -> str:
    table = [[f"`{name}`", difference(lines, rows[first])] for name, lines in rows.items() if name != first]
    return markdown_table(["row", "difference"], table)


def _genres(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    genres = sorted({genre for lines in rows.values() for line in lines for genre in line["nats_per_frame_by_genre"]})
    table = []
    for name, lines in rows.items():
        cells = [over_seeds([line["nats_per_frame_by_genre"] for line in lines], genre) for genre in genres]
        table.append([f"`{name}`", *map(_text, cells)])
    return markdown_table(["row", *genres], table)


def _provenance(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = [line for found in rows.values() for line in found]
    commands, commits, embedders = (
        sorted({str(line.get(name, "unknown")) for line in lines}) for name in ("command", "commit", "embedder")
    )
    hours = sum(line["training_processor_s"] + line["judging_processor_s"] for line in lines) / 3_600
    missing = sorted({f"{name}: {reason}" for line in lines for name, reason in line["left_out"].items()})
    items = [
        f"Command: `{'`, `'.join(commands)}`. Commit: {', '.join(commits)}.",
        f"Begun {min(line['began'] for line in lines)}, last row {max(line['began'] for line in lines)}; "
        f"{hours:.1f} processor hours in all, on {', '.join(sorted({str(line['device']) for line in lines}))}.",
        f"Embedder: {', '.join(embedders)}.",
        "Values are means over the seeds; intervals (95 %, bootstrap over held-out recordings) are the hull of those "
        "of the seeds. Differences of nats a frame are paired by crop.",
        *(f"Left out: {reason}." for reason in missing),
    ]
    return "\n".join(f"- {item}" for item in items)
