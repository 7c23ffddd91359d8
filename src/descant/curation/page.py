"""A check as one page that needs no other file and no network: all findings, and what the codec loses, as players."""

from collections.abc import Sequence
from statistics import mean

from markupsafe import Markup

from descant.audio import Clip
from descant.audio.player import mp3_player
from descant.codec.base import AudioCodec
from descant.curation.check import Report
from descant.curation.codec_loss import CodecLoss, round_trip
from descant.curation.problems import PROBLEMS
from descant.html_pages import render
from descant.studies.evaluation.measuring import LOUDNESS_LUFS

NUM_PLAYERS = 5
MAX_ROWS = 200
"""Clips of one problem that are listed; the others are counted."""


def page(report: Report, losses: Sequence[CodecLoss], codec: AudioCodec | None) -> str:
    """The page of a check.

    Args:
        losses: of all clips, the largest first; the five largest get players.
        codec: the one that they are of.

    Raises:
        AudioError: a clip with a player can no longer be read.
    """
    problems = [
        (name, about, rows)
        for name, about in PROBLEMS.items()
        if (rows := [(report.name(found.clip), found.detail) for found in report.findings if found.problem == name])
    ]
    return render(
        "curation/page.html",
        title=f"Check of {report.clips.folder}",
        summary=[line for line in report.lines(num_examples=0) if not line.startswith(" ")],
        problems=problems,
        max_rows=MAX_ROWS,
        families=[
            (number, ", ".join(map(report.name, family))) for number, family in enumerate(report.families, start=1)
        ],
        losses=[] if codec is None else [_loss_row(report, loss, codec) for loss in losses[:NUM_PLAYERS]],
        num_losses=len(losses),
        mean_loss_db=f"{mean(loss.distance_db for loss in losses):.2f}" if losses else "",
    )


def _loss_row(report: Report, loss: CodecLoss, codec: AudioCodec) -> tuple[str, ...]:
    name = report.name(loss.clip)
    original, decoded = round_trip(codec, loss.clip)
    return name, f"{loss.distance_db:.2f}", _player(original, name), _player(decoded, f"{name} after the codec")


def _player(clip: Clip, name: str) -> Markup:
    return Markup(mp3_player(clip.normalize_loudness(LOUDNESS_LUFS), f"Play {name}"))
