"""An evaluation as one page that needs no other file and no network: the table, plots, and every clip with a player."""

import html
import re
from collections.abc import Callable
from importlib.resources import files as resources

from descant.audio import Clip
from descant.audio.player import mp3_player
from descant.studies.evaluation.base import Measure
from descant.studies.evaluation.measuring import LOUDNESS_LUFS
from descant.studies.evaluation.plots import strip_plot
from descant.studies.evaluation.results import ARROWS, ClipResult, Evaluation, interval_text

MAX_PLAYER_S = 60.0
"""How much of a clip a player has; the page contains the audio."""

Report = Callable[[float, float], None]


def page(evaluation: Evaluation, num_players: int, report: Report = lambda _done, _whole: None) -> str:
    """The page, with players of the worst clips, as MP3 at -14 LUFS.

    Args:
        num_players: ten seconds take about 110 kB of the page.
        report: called with the players done and all of them.

    Raises:
        AudioError: a clip can no longer be read.
    """
    title = f"Evaluation of {evaluation.generated.folder}"
    template = (resources("descant.studies.evaluation") / "page.html").read_text(encoding="utf-8")
    parts = {
        "TITLE": html.escape(title),
        "SUMMARY": html.escape(_summary(evaluation)),
        "TABLE": _table(evaluation),
        "NOTES": _notes(evaluation),
        "PLOTS": "\n".join(_plot(evaluation, column) for column in evaluation.columns),
        "RANKING": html.escape(_ranking(evaluation, num_players)),
        "CLIPS": _clips(evaluation, num_players, report),
    }
    # In one pass, so that nothing in the content is taken for another part.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], template)


def _summary(evaluation: Evaluation) -> str:
    described = [f"{len(evaluation.generated.files)} clips, {evaluation.generated.duration_s / 60:.1f} min"]
    if evaluation.reference is not None:
        reference = evaluation.reference
        described.append(
            f"against {len(reference.files)} clips, {reference.duration_s / 60:.1f} min, of {reference.folder}"
        )
    return "; ".join(described) + "."


def _table(evaluation: Evaluation) -> str:
    cells = [
        [
            row.measure.label,
            interval_text(row.estimate),
            "" if row.reference is None else interval_text(row.reference),
            ARROWS[row.measure.better],
            str(row.estimate.count),
            row.embedder or "",
        ]
        for row in evaluation.rows
    ]
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("measure", "generated", "reference", "better", "clips", "embedder")
    )
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _notes(evaluation: Evaluation) -> str:
    lines = [*evaluation.notes, *(f"Left out: {name}: {reason}" for name, reason in evaluation.left_out.items())]
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _plot(evaluation: Evaluation, column: Measure) -> str:
    means = {row.measure.key: row for row in evaluation.rows}
    row = means.get(column.key)
    values = [clip.values[column.key] for clip in evaluation.clips if column.key in clip.values]
    lanes = [("generated", values, None if row is None else row.estimate)]
    if theirs := evaluation.reference_values.get(column.key):
        lanes.append(("reference", list(theirs), None if row is None else row.reference))
    return f"<h3>{html.escape(column.label)}</h3>{strip_plot(column.label, lanes)}"


def _ranking(evaluation: Evaluation, num_players: int) -> str:
    ranked = [column.label for column in evaluation.columns if column.better is not None]
    how = (
        f"Ranked by the mean share of clips that are better, over: {', '.join(ranked)}."
        if ranked
        else "None of the numbers has a better direction, so the clips are in the order of their names."
    )
    missing = max(0, len(evaluation.clips) - num_players)
    return f"{how} Players at {LOUDNESS_LUFS:g} LUFS." + (
        f" The last {missing} clips have no player, to keep the page small." if missing else ""
    )


def _clips(evaluation: Evaluation, num_players: int, report: Report) -> str:
    columns = evaluation.columns
    names = ["clip", "prompt", "rank", *(column.label for column in columns)]
    head = "".join(f'<th scope="col"><button type="button">{html.escape(name)}</button></th>' for name in names)
    body = []
    for number, clip in enumerate(evaluation.clips):
        player = _player(clip) if number < num_players else ""
        report(min(number + 1, num_players), max(1, min(num_players, len(evaluation.clips))))
        numbers = [clip.badness, *(clip.values.get(column.key) for column in columns)]
        body.append(
            f"<tr><td>{player}</td>{_cell(clip.name)}{_cell(clip.text or '', 'text')}"
            + "".join(_number(value) for value in numbers)
            + "</tr>"
        )
    return (
        f'<table id="clips"><thead><tr><th scope="col">player</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}" data-value="{html.escape(text, quote=True)}">{html.escape(text)}</td>'


def _number(value: float | None) -> str:
    return '<td data-value=""></td>' if value is None else f'<td data-value="{value!r}">{value:.3g}</td>'


def _player(result: ClipResult) -> str:
    clip = Clip.read(result.file, duration_s=MAX_PLAYER_S).normalize_loudness(LOUDNESS_LUFS)
    return mp3_player(clip, f"Play {result.name}")
