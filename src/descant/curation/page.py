"""A check as one page that needs no other file and no network: all findings, and what the codec loses, as players."""

import html
import re
from collections.abc import Sequence
from importlib.resources import files as resources

from descant.audio import Clip
from descant.audio.player import mp3_player
from descant.codec.base import AudioCodec
from descant.curation.check import Report
from descant.curation.codec_loss import CodecLoss, round_trip
from descant.curation.problems import PROBLEMS
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
    template = (resources("descant.curation") / "page.html").read_text(encoding="utf-8")
    parts = {
        "TITLE": html.escape(f"Check of {report.clips.folder}"),
        "SUMMARY": _summary(report),
        "PROBLEMS": _problems(report),
        "FAMILIES": _families(report),
        "CODEC": "" if codec is None else _codec(report, losses, codec),
    }
    # In one pass, so that nothing in the content is taken for another part.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], template)


def _summary(report: Report) -> str:
    lines = [line for line in report.lines(num_examples=0) if not line.startswith(" ")]
    return "<br>".join(html.escape(line) for line in lines)


def _problems(report: Report) -> str:
    sections = []
    for name, about in PROBLEMS.items():
        found = [finding for finding in report.findings if finding.problem == name]
        if not found:
            continue
        rows = [(report.name(finding.clip), finding.detail) for finding in found[:MAX_ROWS]]
        more = f"<p>And {len(found) - MAX_ROWS} more.</p>" if len(found) > MAX_ROWS else ""
        sections.append(
            f"<h2>{html.escape(name)} ({len(found)})</h2><p>{html.escape(f'{about.meaning}; {about.remedy}')}.</p>"
            f"{_table(('clip', 'detail'), rows)}{more}"
        )
    return "\n".join(sections)


def _families(report: Report) -> str:
    if not report.families:
        return ""
    rows = [
        (str(number), ", ".join(map(report.name, family))) for number, family in enumerate(report.families, start=1)
    ]
    return f"<h2>The same music</h2>{_table(('family', 'clips'), rows)}"


def _codec(report: Report, losses: Sequence[CodecLoss], codec: AudioCodec) -> str:
    if not losses:
        return ""
    mean_db = sum(loss.distance_db for loss in losses) / len(losses)
    rows = []
    for loss in losses[:NUM_PLAYERS]:
        name = report.name(loss.clip)
        original, decoded = round_trip(codec, loss.clip)
        rows.append(
            f"<tr><td>{html.escape(name)}</td><td>{loss.distance_db:.2f}</td><td>{_player(original, name)}</td>"
            f"<td>{_player(decoded, f'{name} after the codec')}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("clip", "distance, dB", "original", "after the codec"))
    return (
        f"<h2>What the codec loses</h2><p>Log-mel distance between ten seconds of each clip and their reconstruction "
        f"by the codec alone: {mean_db:.2f} dB in the mean of {len(losses)} clips. No model with this codec can sound "
        f"better. The {len(rows)} largest:</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _player(clip: Clip, name: str) -> str:
    return mp3_player(clip.normalize_loudness(LOUDNESS_LUFS), f"Play {name}")


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
