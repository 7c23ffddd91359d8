"""Draws docs/speed/steps.svg, duration.svg and count.svg from ``results.jsonl``: ``make bench-docs``.

::

    python benchmarks/run.py --kinds decode --curve steps
    python benchmarks/run.py --kinds decode --curve duration
    python benchmarks/run.py --kinds decode --curve count -d 5
    python benchmarks/plots.py
"""

from pathlib import Path
from typing import Any

import matplotlib
from results import newest, read, short_machine

from descant.studies.plot_style import SETTINGS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "speed"
AXES = {
    "steps": ("steps in the cache", "ms_per_step", "milliseconds of a step"),
    "duration": ("seconds of music", "seconds", "seconds to generate it"),
    "count": ("requests at once", "throughput_ratio", "throughput, one request = 1"),
}
"""For each curve its horizontal axis, the value that is drawn, and the vertical axis."""

PLACES = {"steps": "steps", "duration": "duration_s", "count": "count"}


def draw(curve: str, lines: list[dict[str, Any]], file: Path) -> None:
    """Draws the newest measurement of a curve on each machine, with its smallest and largest values."""
    from matplotlib.figure import Figure

    horizontal, value, vertical = AXES[curve]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.add_subplot(xlabel=horizontal, ylabel=vertical)
        for line in newest(lines, f"decode by {curve}"):
            points = line["points"]
            places = [point[PLACES[curve]] for point in points]
            (drawn,) = axes.plot(places, [point[value] for point in points], marker=".", label=_label(line))
            low, high = ([point[f"{value}_{end}"] for point in points] for end in ("min", "max"))
            axes.fill_between(places, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _label(line: dict[str, Any]) -> str:
    return f"{line['model']}, {line['precision']}, {short_machine(line)}"


def main() -> None:
    """Draws the curves that were measured."""
    lines = read()
    for curve in AXES:
        if newest(lines, f"decode by {curve}"):
            draw(curve, lines, FOLDER / f"{curve}.svg")


if __name__ == "__main__":
    main()
