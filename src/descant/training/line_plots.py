"""Line plots as SVG, drawn without a plotting library, so that every run can have them."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 250
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 28, 24
LEGEND_ROW = 18
MAX_POINTS = 400
"""A line with more points is drawn as means of neighbouring ones."""

COLORS = ("#0b6bcb", "#c4570a", "#2a8a3e", "#8b3fb5", "#b5264c", "#5d7a00", "#008a8a", "#7a5c3e")
"""Of the lines in order, each readable on white and on black."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line by its name: points with increasing x, and gaps where y is not finite."""

    name: str
    points: Sequence[Point]


def line_plot(title: str, lines: Sequence[Line], top: int = 0) -> str:
    """Lines on common axes over the step, with a legend, as one SVG element that needs no style sheet.

    Args:
        top: its place in an element with several plots (``stacked``).
    """
    thin = [Line(line.name, _thinned(line.points)) for line in lines]
    low_x, high_x = _ends([x for line in thin for x, _ in line.points])
    low_y, high_y = _ends([y for line in thin for _, y in line.points])

    def place(x: float, y: float) -> Point:
        right, down = (x - low_x) / (high_x - low_x), (high_y - y) / (high_y - low_y)
        return LEFT + right * (WIDTH - LEFT - RIGHT), TOP + down * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{html.escape(title)}</text>']
    for value in (low_y, (low_y + high_y) / 2, high_y):
        y = place(low_x, value)[1]
        parts.append(f'<path d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".25"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for x, anchor, text in ((LEFT, "start", f"step {low_x:.7g}"), (WIDTH - RIGHT, "end", f"step {high_x:.7g}")):
        parts.append(f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>')
    for number, line in enumerate(thin):
        color, y = COLORS[number % len(COLORS)], HEIGHT + LEGEND_ROW * number + 8
        style = f'fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"'
        parts.append(f'<path d="{_path([place(*point) for point in line.points])}" {style}/>')
        parts.append(f'<path d="M{LEFT},{y - 4}h24" {style}/>')
        parts.append(f'<text x="{LEFT + 32}" y="{y}">{html.escape(_legend(line))}</text>')
    spoken = html.escape(f"{title}. {'; '.join(_legend(line) for line in lines)}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{spoken}" x="0" y="{top}" width="{WIDTH}" '
        f'height="{plot_height(lines)}" viewBox="0 0 {WIDTH} {plot_height(lines)}" font-family="system-ui, sans-serif" '
        f'font-size="13" fill="currentColor">{"".join(parts)}</svg>'
    )


def stacked(plots: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """Several plots, each a title and its lines, below each other as one SVG file with a white background."""
    heights = [plot_height(lines) for _, lines in plots]
    drawn = [line_plot(*plot, top=sum(heights[:number])) for number, plot in enumerate(plots)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {sum(heights)}" color="#111">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(drawn)}</svg>\n'
    )


def plot_height(lines: Sequence[Line]) -> int:
    """The height of a plot of these lines, with their legend."""
    return HEIGHT + LEGEND_ROW * len(lines) + 8


def _thinned(points: Sequence[Point]) -> list[Point]:
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), max(1, size))]
    return [(group[-1][0], _mean([y for _, y in group if math.isfinite(y)])) for group in groups]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, which differ."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _path(points: Sequence[Point]) -> str:
    """The path through these points; one without a neighbour is a dot."""
    commands = []
    is_drawing = False
    for x, y in points:
        if math.isfinite(y):
            commands.append(f"{'L' if is_drawing else 'M'}{x:.1f},{y:.1f}" + ("" if is_drawing else "h0"))
        is_drawing = math.isfinite(y)
    return "".join(commands)


def _legend(line: Line) -> str:
    """The name of a line with its last value."""
    known = [y for _, y in line.points if math.isfinite(y)]
    return f"{line.name}: {known[-1]:.4g}" if known else line.name
