"""The page of a fine-tuning run, which needs no other file and no network: clips with players, and loss curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from descant.audio.player import mp3_player
from descant.finetuning.card import Outcome
from descant.finetuning.listening import STAGES, Listening
from descant.html_pages import render
from descant.training.line_plots import Line, line_plot


def page(title: str, trigger: str, outcome: Outcome, listening: Listening, log: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        log: the lines of the run's log (``training/logs.py``).

    Raises:
        AudioError: a clip cannot be read.
    """
    made = {stage: clips for stage in STAGES if (clips := listening.clips(stage)) is not None}
    return render(
        "finetuning/page.html",
        title=title,
        summary=[
            f"Trigger word: {trigger}. Loss on held-out music: {outcome.before:.3f} before, {outcome.after:.3f} after "
            f"({100 * outcome.change:+.1f} %), at step {outcome.best_step} of {outcome.steps}."
        ],
        stages=list(made),
        rows=[
            (prompt, [Markup(mp3_player(made[stage][number], f"Play {prompt}, {stage}")) for stage in made])
            for number, prompt in enumerate(listening.prompts)
        ],
        plots=[Markup(plot) for plot in _plots(log)],
    )


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
