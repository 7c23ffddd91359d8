"""What a run has logged, as a table for other programs, as one plot, and as a page that needs no other file.

Each is made from ``log.jsonl`` alone, while the run is going on and after it: the log can be read by hand, these need
not be.
"""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from descant.atomic import write_atomically
from descant.errors import AudioError
from descant.html_pages import render
from descant.training.line_plots import Line, line_plot, stacked
from descant.training.logs import LEFT_OUT, read_log
from descant.training.run_folder import LOG_NAME, PAGE_NAMES

MAX_LISTED = 200
"""Clips on the page that were left out; the log has all of them."""

TITLES = {
    "ce": "Cross-entropy in nats",
    "loss": "Loss that is minimised",
    "lr": "Learning rate",
    "audio_s_per_s": "Speed: seconds of audio per second",
    "norm": "Norm of the gradient",
    "skipped": "Updates left out because they were not finite",
}
NUM_IN_PLOT = 2
"""Plots in the file of plots: what is minimised, and how well held-out clips are predicted."""

LAST = ("lr", "audio_s_per_s", "norm", "skipped")
"""Plots of how the run goes, after those of what it learns."""

SAME_WAY = "train_"
"""How values of a validation begin that were measured on training clips."""

Plot = tuple[str, list[Line]]


def write_run_page(folder: Path) -> None:
    """Writes the table, the plot and the page of a run into its folder, each atomically.

    Raises:
        OSError: one cannot be written, or the log cannot be read.
    """
    lines = read_log(folder / LOG_NAME)
    made = plots(lines)
    contents = (table(lines), stacked(made[:NUM_IN_PLOT]), page(folder.absolute().name, lines, made))
    for name, content in zip(PAGE_NAMES, contents, strict=True):
        try:
            # A file's name need not be Unicode, but a page is.
            write_atomically(folder / name, content.encode("utf-8", "replace"))
        except AudioError as error:
            raise OSError(str(error)) from error


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The values of all lines as CSV, a row each; an empty cell is a value that was not finite or not measured."""
    measured = [line for line in lines if line["kind"] != LEFT_OUT]
    names = list(dict.fromkeys(["step", "kind", *(name for line in measured for name in line)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(measured)
    return text.getvalue()


def plots(lines: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """A plot for each quantity, the loss first; values of each codebook are one line each of a plot of their own."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        if line["kind"] == LEFT_OUT:
            continue
        for name, value in line.items():
            if name not in ("step", "kind"):
                plot, label = _place(line["kind"], name)
                points = found.setdefault(plot, {}).setdefault(label, [])
                points.append((float(line["step"]), math.nan if value is None else float(value)))
    order = sorted(found, key=lambda plot: (plot[0] in LAST, plot[0] != "loss", plot[0] != "ce"))
    return [
        (
            f"{TITLES.get(name, name)}{variant}",
            [Line(label, points) for label, points in found[name, variant].items()],
        )
        for name, variant in order
    ]


def page(title: str, lines: Sequence[Mapping[str, Any]], made: Sequence[Plot]) -> str:
    """The page of a run, with all plots inside."""
    left_out = {line["clip"]: line["reason"] for line in lines if line["kind"] == LEFT_OUT}
    return render(
        "training/run.html",
        title=f"Training {title}",
        summary=[_summary(lines)],
        plots=[Markup(line_plot(*plot)) for plot in made],
        left_out=list(left_out.items()),
        max_listed=MAX_LISTED,
    )


def _place(kind: str, name: str) -> tuple[tuple[str, str], str]:
    """The plot of a value, as its quantity and what sets it apart, and the name of its line there."""
    label = {"train": "training"}.get(kind, kind)
    if kind != "train" and name.startswith(SAME_WAY):
        name, label = name.removeprefix(SAME_WAY), "training clips, measured as in validation"
    codebook = re.fullmatch(r"(.+)_q(\d+)", name)
    if codebook is not None:
        return (codebook[1], f" of each codebook, {label}"), f"codebook {codebook[2]}"
    phase = re.fullmatch(r"(loss|norm)_(.+)", name)
    if phase is not None:
        return (phase[1], ""), phase[2]
    end = re.fullmatch(r"(.+)_(low|high)", name)
    if end is not None:
        return (end[1], ""), f"{end[2]} end of its 95 % interval"
    return (name, ""), label


def _summary(lines: Sequence[Mapping[str, Any]]) -> str:
    measured = [line for line in lines if line["kind"] != LEFT_OUT]
    if not measured:
        return "Nothing has been logged yet."
    skipped = next((line["skipped"] for line in reversed(measured) if line.get("skipped") is not None), 0)
    return f"Step {measured[-1]['step']}; {skipped:.0f} updates were not finite and were left out."
