"""Does a long clip follow its timeline? Onset rate and loudness of each of its sections.

A section is split into windows of a second, which are resampled for the interval. Neighbouring windows are similar, so
intervals are rather too narrow than too wide.
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
"""An interval needs at least two windows."""
SILENCE_LUFS = -70.0
"""The loudness reported for silence: the absolute gate of ITU-R BS.1770-4."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Means over the windows from ``start_s`` to ``end_s``, the section whose prompt is ``text``."""

    start_s: float
    end_s: float
    text: str
    onsets_per_second: Estimate
    loudness_lufs: Estimate


def measure_timeline(clip: Clip, timeline: Sequence[tuple[float, str]]) -> list[Section]:
    """Onset rate and loudness of each section of a clip.

    Onsets are detected in each section separately: next to a loud section a quiet one would seem to have none.

    Args:
        timeline: start in seconds and prompt of each section; a section ends where the next one begins, the last one
            with the clip.

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
        section = _cut(clip, start_s, end_s)
        windows = np.arange(int(section.duration_s / WINDOW_S)) * WINDOW_S
        counts, _ = np.histogram(onset_times_s(section), bins=[*windows, windows[-1] + WINDOW_S])
        loudness = [_loudness(_cut(section, window_s, window_s + WINDOW_S)) for window_s in windows]
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
    """The report on an audio file, also written to ``out_dir`` as timeline.json and timeline.md.

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
    """The report as Markdown."""
    rows = [
        [
            f"{section['start_s']:g} to {section['end_s']:g}",
            section["text"],
            Estimate(**section["onsets_per_second"]),
            Estimate(**section["loudness_lufs"]),
        ]
        for section in report["sections"]
    ]
    return (
        f"# The sections of {report['file']}\n\nMeans over windows of a second, with 95 % intervals.\n\n"
        + markdown_table(["seconds", "prompt", "onsets per second", "loudness in LUFS"], rows)
    )


def _cut(clip: Clip, start_s: float, end_s: float) -> Clip:
    first, last = (round(second * clip.sample_rate_hz) for second in (start_s, end_s))
    return replace(clip, samples=clip.samples[:, first:last], codes=None)


def _loudness(clip: Clip) -> float:
    return max(SILENCE_LUFS, integrated_loudness(clip.samples, clip.sample_rate_hz))
