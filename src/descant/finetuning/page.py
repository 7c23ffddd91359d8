"""The page of a fine-tuning run, which needs no other file and no network: clips with players, and loss curves."""

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import Any

from descant.audio import Clip
from descant.audio.player import mp3_player
from descant.finetuning.card import Outcome
from descant.finetuning.listening import STAGES, Listening

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 56, 34

Points = Sequence[tuple[float, float]]


def page(title: str, trigger: str, outcome: Outcome, listening: Listening, log: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        log: the lines of the run's log (``training/logs.py``).

    Raises:
        AudioError: a clip cannot be read.
    """
    template = (resources("descant.finetuning") / "page.html").read_text(encoding="utf-8")
    parts = {
        "TITLE": html.escape(title),
        "SUMMARY": html.escape(
            f"Trigger word: {trigger}. Loss on held-out music: {outcome.before:.3f} before, {outcome.after:.3f} after "
            f"({100 * outcome.change:+.1f} %), at step {outcome.best_step} of {outcome.steps}."
        ),
        "CLIPS": _clips(listening),
        "LEGEND": "Cross-entropy in nats, of training music in blue and of held-out music in orange; below, how far "
        "the predictions have moved from those of the original model for prompts without the trigger word.",
        "PLOTS": "\n".join(_plots(log)),
    }
    # In one pass, so that nothing in the content is taken for another part.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], template)


def _clips(listening: Listening) -> str:
    made = {stage: clips for stage in STAGES if (clips := listening.clips(stage)) is not None}
    head = "".join(f'<th scope="col">{name}</th>' for name in ("prompt", *made))
    rows = [
        f'<tr><th scope="row">{html.escape(prompt)}</th>'
        + "".join(f"<td>{_player(clips[number], f'{prompt}, {stage}')}</td>" for stage, clips in made.items())
        + "</tr>"
        for number, prompt in enumerate(listening.prompts)
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _player(clip: Clip, label: str) -> str:
    return mp3_player(clip, f"Play {label}")


def _plots(log: Sequence[Mapping[str, Any]]) -> list[str]:
    def points(kind: str, name: str) -> Points:
        return [(line["step"], line[name]) for line in log if line["kind"] == kind and line.get(name) is not None]

    losses = {"training": points("train", "ce"), "held out": points("validation", "ce")}
    moved = {"training": points("train", "divergence"), "held out": points("validation", "divergence")}
    plots = [("Cross-entropy", losses), ("Divergence from the original model", moved)]
    return [line_plot(title, lines) for title, lines in plots if any(lines.values())]


def line_plot(title: str, lines: Mapping[str, Points]) -> str:
    """Lines over the steps on one scale, as SVG."""
    every = [point for points in lines.values() for point in points]
    last = max(step for step, _ in every) or 1
    low, high = min(value for _, value in every), max(value for _, value in every)
    span = high - low or 1.0

    def place(step: float, value: float) -> str:
        x = LEFT + step / last * (WIDTH - LEFT - 16)
        return f"{x:.1f},{10 + (high - value) / span * (HEIGHT - BOTTOM - 10):.1f}"

    drawn = [
        f'<polyline class="line{number}" style="fill:none" points="{" ".join(place(*point) for point in points)}"/>'
        for number, points in enumerate(lines.values())
    ]
    floor = HEIGHT - BOTTOM
    axes = (
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 16}" y1="{floor}" y2="{floor}"/>'
        f'<text x="0" y="16">{high:.3g}</text><text x="0" y="{floor}">{low:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 12}">step 0</text>'
        f'<text x="{WIDTH - 16}" y="{HEIGHT - 12}" text-anchor="end">{last:g}</text>'
    )
    ends = "; ".join(f"{name}: {points[0][1]:.3g} to {points[-1][1]:.3g}" for name, points in lines.items() if points)
    label = html.escape(f"{title}. {ends}", quote=True)
    return (
        f"<h3>{html.escape(title)}</h3>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{axes}{"".join(drawn)}</svg>'
    )
