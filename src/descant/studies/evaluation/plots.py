"""Plots of the page as SVG: every clip as a dot, the mean with its interval below, one lane for each set."""

import html
from collections.abc import Sequence

from descant.evaluation.report import Estimate
from descant.studies.evaluation.results import interval_text

WIDTH, LANE, MARGIN = 640, 56, 110
RADIUS = 3.5
JITTER = (0, 5, -5, 10, -10, 3, -7, 7, -3)
"""Vertical shifts of successive dots, so that equal values do not hide each other."""


def strip_plot(title: str, lanes: Sequence[tuple[str, Sequence[float], Estimate | None]]) -> str:
    """Dots of all values in one lane for each set, on one scale, with the mean and its interval as a bar.

    Args:
        lanes: a name, the values, and the mean.
    """
    values = [value for _, known, _ in lanes for value in known]
    ends = [end for _, _, mean in lanes if mean is not None for end in (mean.low, mean.high)]
    low, high = min([*values, *ends]), max([*values, *ends])
    span = high - low or 1.0
    height = LANE * len(lanes) + 24

    def x(value: float) -> float:
        return MARGIN + (value - low) / span * (WIDTH - MARGIN - 20)

    parts = []
    for number, (name, known, mean) in enumerate(lanes):
        middle = LANE * number + LANE / 2 - 6
        parts.append(f'<text x="0" y="{middle + 4:.0f}">{html.escape(name)}</text>')
        dots = (
            f'<circle cx="{x(value):.1f}" cy="{middle + JITTER[index % len(JITTER)]}" r="{RADIUS}"/>'
            for index, value in enumerate(known)
        )
        parts.append(f'<g class="lane{number}">{"".join(dots)}</g>')
        if mean is not None:
            y = middle + 20
            parts.append(
                f'<g class="mean"><line x1="{x(mean.low):.1f}" x2="{x(mean.high):.1f}" y1="{y}" y2="{y}"/>'
                f'<line x1="{x(mean.value):.1f}" x2="{x(mean.value):.1f}" y1="{y - 6}" y2="{y + 6}"/></g>'
            )
    axis = height - 6
    parts.append(f'<text x="{MARGIN}" y="{axis}">{low:.3g}</text>')
    parts.append(f'<text x="{WIDTH - 20}" y="{axis}" text-anchor="end">{high:.3g}</text>')
    spoken = "; ".join(f"{name}: {interval_text(mean)}" for name, _, mean in lanes if mean is not None)
    label = html.escape(f"{title}. {spoken}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
