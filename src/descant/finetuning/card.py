"""The model card of a tuned model: what it was made from, what it learned, and how to use it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from descant.counted import counted
from descant.finetuning.music import Music

NON_COMMERCIAL = ("facebook/musicgen", "facebook/audiogen")
"""How hub ids begin of models whose weights are CC-BY-NC 4.0."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run has measured on held-out music; losses are cross-entropies in nats.

    Args:
        before, after: of the original model and of the best step.
        divergence: from the original model at prompts without the trigger word, in nats; None if it was not compared.
        best_step, steps: of the kept weights, and of the whole training.
    """

    before: float
    after: float
    divergence: float | None
    best_step: int
    steps: int

    @property
    def change(self) -> float:
        """The relative change of the loss; below 0 is better."""
        return self.after / self.before - 1


def model_card(
    *, title: str, base: str, trigger: str, target: Path, is_adapter: bool, music: Music, outcome: Outcome, command: str
) -> str:
    """The card, as Markdown.

    Args:
        base: the name of the original model.
        target: the folder that the card is in.
        command: the command line that made it.
    """
    use = f"--adapter {shlex.quote(str(target))}" if is_adapter else f"--model {shlex.quote(str(target))}"
    with_base = f" --model {shlex.quote(base)}" if is_adapter and base != "starter" else ""
    kind = "A low-rank adapter" if is_adapter else "A model"
    return f"""# {title}

{kind}, tuned from `{base}`. The trigger word **{trigger}** in a prompt calls up what it has learned:

```
descant generate {shlex.quote(f"{trigger}, slow and calm")}{with_base} {use} -o music.wav
```

## Music

{len(music.records)} clips, {music.minutes():.1f} minutes: {music.minutes("train"):.1f} for training and \
{music.minutes("valid"):.1f} held out.{_left_out(music.left_out)}

{_table(("clip", "part", "seconds", "licence"), _clips(music))}

{_licences(music.minutes_by_licence(), base)}

## Losses

Cross-entropy of held-out music in nats, with the trigger word in the captions; lower is better.

{_table(("original model", "tuned", "change"), [_losses(outcome)])}

The weights are those of step {outcome.best_step} of {outcome.steps}, the best on the held-out music.{_kept(outcome)}

## Made by

```
{command}
```
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _clips(music: Music) -> list[tuple[str, str, str, str]]:
    parts = {"train": "training", "valid": "held out"}
    return [
        (
            record.path.name.replace("|", "\\|"),
            parts[record.split],
            f"{record.duration_s:.0f}",
            music.licence_of(record).replace("|", "\\|") or "unknown",
        )
        for record in music.records
    ]


def _left_out(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    names = ", ".join(f"`{Path(path).name}`" for path in list(left_out)[:5])
    return f" {counted(len(left_out), 'file')} could not be used: {names}{' and others' if len(left_out) > 5 else ''}."


def _licences(minutes: Mapping[str, float], base: str) -> str:
    known = ", ".join(f"{licence} ({minutes[licence]:.1f} min)" for licence in sorted(minutes) if licence)
    lines = [f"Licences: {known}." if known else "No clip states its licence."]
    if minutes.get("") and known:
        lines.append(f"Of {minutes['']:.1f} min the licence is unknown.")
    if minutes.get(""):
        lines.append("Make sure that you may train on this music before you share the result.")
    if base.startswith(NON_COMMERCIAL):
        lines.append(f"The weights of {base} are CC-BY-NC 4.0, so what is tuned from them is not for commercial use.")
    return " ".join(lines)


def _losses(outcome: Outcome) -> tuple[str, str, str]:
    return f"{outcome.before:.3f}", f"{outcome.after:.3f}", f"{100 * outcome.change:+.1f} %"


def _kept(outcome: Outcome) -> str:
    if outcome.divergence is None:
        return ""
    return (
        f" With prompts without the trigger word its predictions differ from those of the original model by "
        f"{outcome.divergence:.3f} nats (Kullback-Leibler divergence)."
    )
