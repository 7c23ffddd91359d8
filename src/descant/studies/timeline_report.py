"""Does a long piece change where its timeline says so? How busy and how loud each of its sections is.

A section is cut into seconds, and these are what is resampled: an interval tells how far the seconds of a section lie
apart. Neighbouring seconds are alike, so that intervals are rather too narrow than too wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from descant.audio import Clip, integrated_loudness
from descant.errors import InvalidRequest
from descant.evaluation.musical import onset_times_s
from descant.evaluation.report import Estimate, markdown_table, mean_with_interval, write_report_json

WINDOW_S = 1.0
SHORTEST_S = 2.0
"""Of one second alone nobody knows how far it is from the next."""
SILENCE_LUFS = -70.0
"""What silence counts as: the gate under which ITU-R BS.1770-4 hears nothing."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is heard from ``start_s`` to ``end_s`` of a piece, where ``text`` was asked for: means over its seconds."""

    start_s: float
    end_s: float
    text: str
    onsets_per_second: Estimate
    loudness_lufs: Estimate


def measure_timeline(clip: Clip, timeline: Sequence[tuple[float, str]]) -> list[Section]:
    """What is heard in each section of a piece.

    Onsets are found in each section by itself: beside a loud section a quiet one would seem to have none.

    Args:
        timeline: the second at which each section begins, and what was asked for there; a section ends where the next
            begins, the last one with the clip.

    Raises:
        InvalidRequest: there are no sections, they are out of order, or one is shorter than two seconds.
        MissingExtra: librosa is not installed.
    """
    if not timeline or timeline[0][0] < 0:
        raise InvalidRequest(f"timeline={list(timeline)!r:.80}: at least one section is needed, none before 0 s")
    starts = [start_s for start_s, _ in timeline]
    sections = []
    for (start_s, text), end_s in zip(timeline, [*starts[1:], clip.duration_s], strict=True):
        if end_s - start_s < SHORTEST_S:
            raise InvalidRequest(
                f"the section {text!r:.60} lasts from {start_s:g} to {end_s:g} s: at least {SHORTEST_S:g} s are needed"
            )
        heard = _cut(clip, start_s, end_s)
        windows = np.arange(int(heard.duration_s / WINDOW_S)) * WINDOW_S
        counts, _ = np.histogram(onset_times_s(heard), bins=[*windows, windows[-1] + WINDOW_S])
        loudness = [_loudness(_cut(heard, window_s, window_s + WINDOW_S)) for window_s in windows]
        sections.append(
            Section(
                start_s=start_s,
                end_s=end_s,
                text=text,
                onsets_per_second=mean_with_interval((counts / WINDOW_S).tolist()),
                loudness_lufs=mean_with_interval(loudness),
            )
        )
    return sections


def run(file: Path, timeline: Sequence[tuple[float, str]], out_dir: Path) -> dict[str, Any]:
    """The report on a sound file, which is also written to ``out_dir`` as timeline.json and timeline.md.

    Raises:
        AudioError: the file cannot be read.
        InvalidRequest: the timeline does not fit the file.
        MissingExtra: librosa is not installed.
    """
    clip = Clip.read(file)
    sections = measure_timeline(clip, timeline)
    report = {
        "file": file.name,
        "duration_s": clip.duration_s,
        "sections": [asdict(section) for section in sections],
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    write_report_json(report, out_dir / "timeline.json")
    (out_dir / "timeline.md").write_text(markdown(report), encoding="utf-8")
    return report


def markdown(report: Mapping[str, Any]) -> str:
    """The report for readers."""
    rows = [
        [
            f"{section['start_s']:g} to {section['end_s']:g}",
            section["text"],
            Estimate(**section["onsets_per_second"]),
            Estimate(**section["loudness_lufs"]),
        ]
        for section in report["sections"]
    ]
    return f"# The sections of {report['file']}\n\nMeans over their seconds, with 95 % intervals.\n\n" + markdown_table(
        ["seconds", "asked for", "onsets a second", "loudness in LUFS"], rows
    )


def _cut(clip: Clip, start_s: float, end_s: float) -> Clip:
    first, last = (round(second * clip.sample_rate_hz) for second in (start_s, end_s))
    return replace(clip, samples=clip.samples[:, first:last], codes=None)


def _loudness(clip: Clip) -> float:
    return max(SILENCE_LUFS, integrated_loudness(clip.samples, clip.sample_rate_hz))
