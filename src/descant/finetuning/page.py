"""The page of a fine-tuning run, which needs no other file and no network: clips with players, and loss curves."""

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import Any

from descant.audio.player import mp3_player
from descant.finetuning.card import Outcome
from descant.finetuning.listening import STAGES, Listening
from descant.training.line_plots import Line, line_plot


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
        "PLOTS": "\n".join(_plots(log)),
    }
    # In one pass, so that nothing in the content is taken for another part.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], template)


def _clips(listening: Listening) -> str:
    made = {stage: clips for stage in STAGES if (clips := listening.clips(stage)) is not None}
    head = "".join(f'<th scope="col">{name}</th>' for name in ("prompt", *made))
    rows = [
        f'<tr><th scope="row">{html.escape(prompt)}</th>'
        + "".join(f"<td>{mp3_player(clips[number], f'Play {prompt}, {stage}')}</td>" for stage, clips in made.items())
        + "</tr>"
        for number, prompt in enumerate(listening.prompts)
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _plots(log: Sequence[Mapping[str, Any]]) -> list[str]:
    def line(name: str, kind: str, value: str) -> Line:
        values = [(each["step"], each.get(value)) for each in log if each["kind"] == kind]
        return Line(name, [(float(step), float(known)) for step, known in values if known is not None])

    quantities = {"Cross-entropy in nats": "ce", "Divergence from the original model in nats": "divergence"}
    plots = [
        (title, [line("training music", "train", value), line("held-out music", "validation", value)])
        for title, value in quantities.items()
    ]
    return [line_plot(title, lines) for title, lines in plots if any(each.points for each in lines)]
