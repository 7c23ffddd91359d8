"""An evaluation as one page that needs no other file and no network: the table, plots, and every clip with a player."""

from collections.abc import Callable, Iterator

from markupsafe import Markup

from descant.audio import Clip
from descant.audio.player import mp3_player
from descant.counted import counted
from descant.html_pages import render
from descant.studies.evaluation.base import Measure
from descant.studies.evaluation.measuring import LOUDNESS_LUFS
from descant.studies.evaluation.plots import strip_plot
from descant.studies.evaluation.results import ARROWS, Evaluation, interval_text

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
    columns = evaluation.columns
    return render(
        "studies/evaluation/page.html",
        title=f"Evaluation of {evaluation.generated.folder}",
        summary=[_summary(evaluation)],
        measures=_measures(evaluation),
        notes=[*evaluation.notes, *(f"Left out: {name}: {reason}" for name, reason in evaluation.left_out.items())],
        plots=[(column.label, Markup(_plot(evaluation, column))) for column in columns],
        ranking=_ranking(evaluation, num_players),
        names=["clip", "prompt", "rank", *(column.label for column in columns)],
        clips=[
            (clip, player, [clip.badness, *(clip.values.get(column.key) for column in columns)])
            for clip, player in zip(evaluation.clips, _players(evaluation, num_players, report), strict=True)
        ],
    )


def _summary(evaluation: Evaluation) -> str:
    described = [f"{counted(len(evaluation.generated.files), 'clip')}, {evaluation.generated.duration_s / 60:.1f} min"]
    if evaluation.reference is not None:
        reference = evaluation.reference
        count = counted(len(reference.files), "clip")
        described.append(f"against {count}, {reference.duration_s / 60:.1f} min, of {reference.folder}")
    return "; ".join(described) + "."


def _measures(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The rows of the table of measures."""
    return [
        (
            row.measure.label,
            interval_text(row.estimate),
            "" if row.reference is None else interval_text(row.reference),
            ARROWS[row.measure.better],
            str(row.estimate.count),
            row.embedder or "",
        )
        for row in evaluation.rows
    ]


def _plot(evaluation: Evaluation, column: Measure) -> str:
    means = {row.measure.key: row for row in evaluation.rows}
    row = means.get(column.key)
    values = [clip.values[column.key] for clip in evaluation.clips if column.key in clip.values]
    lanes = [("generated", values, None if row is None else row.estimate)]
    if theirs := evaluation.reference_values.get(column.key):
        lanes.append(("reference", list(theirs), None if row is None else row.reference))
    return strip_plot(column.label, lanes)


def _ranking(evaluation: Evaluation, num_players: int) -> str:
    ranked = [column.label for column in evaluation.columns if column.better is not None]
    how = (
        f"Ranked by the mean share of clips that are better, over: {', '.join(ranked)}."
        if ranked
        else "None of the numbers has a better direction, so the clips are in the order of their names."
    )
    missing = max(0, len(evaluation.clips) - num_players)
    return f"{how} Players at {LOUDNESS_LUFS:g} LUFS." + (
        f" The last {counted(missing, 'clip has', 'clips have')} no player, to keep the page small." if missing else ""
    )


def _players(evaluation: Evaluation, num_players: int, report: Report) -> Iterator[str]:
    """A player for each of the first clips, and "" for the others."""
    num_made = min(num_players, len(evaluation.clips))
    for number, result in enumerate(evaluation.clips):
        if number < num_players:
            clip = Clip.read(result.file, duration_s=MAX_PLAYER_S).normalize_loudness(LOUDNESS_LUFS)
            player = Markup(mp3_player(clip, f"Play {result.name}"))
        else:
            player = Markup()
        report(min(number + 1, num_made), max(1, num_made))
        yield player
