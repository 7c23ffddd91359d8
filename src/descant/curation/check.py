"""Checks a training set: its files, their sound, their captions, and that no music is in both splits."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from descant.audio import AudioHeader, check_usable
from descant.counted import counted
from descant.curation.analysis import Analysis, Job, Unreadable, analyse_files
from descant.curation.problems import PROBLEMS, Finding, Severity
from descant.curation.rules import (
    Settings,
    caption_findings,
    constant_findings,
    contradictions,
    ending_findings,
    signal_findings,
    stated_tempo_key,
)
from descant.curation.same_music import families
from descant.data.folders import MANIFEST_NAME, list_folder
from descant.data.licences import licence_of
from descant.data.manifest import ClipRecord, read_manifest
from descant.data.parts import Part
from descant.data.recorded import is_as_recorded
from descant.data.scan import plausible_header, scan_folder
from descant.errors import AudioError, DataError, InvalidRequest, without_salvage
from descant.evaluation.embedders.musicnn_weights import INSTALL

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips to check.

    Args:
        folder: the one that the manifest is or would be in.
        unlisted: audio files of the folder that are not in its manifest.
        empty_texts: clips with a text file that has no words.
        unreadable: files that a scan leaves out, with the reasons; they are not among the records.
    """

    folder: Path
    records: Sequence[ClipRecord]
    unlisted: Sequence[Path] = ()
    empty_texts: Collection[Path] = ()
    unreadable: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a check.

    Args:
        findings: in the order of ``PROBLEMS``, and of the clips.
        families: clips of the same recording.
        hours: by licence.
        allowed: names of faults that do not count.
        left_out: what was not checked, and why.
    """

    clips: Clips
    findings: Sequence[Finding]
    families: Sequence[Sequence[Path]]
    hours: dict[str, float]
    allowed: Collection[str]
    left_out: Sequence[str]

    def found(self, *severities: Severity) -> list[Finding]:
        """The findings of these severities; faults that are allowed are notices."""
        return [finding for finding in self.findings if self._severity(finding.problem) in severities]

    @property
    def is_trainable(self) -> bool:
        """Whether a run would not stop with an error; other problems may still be worth fixing."""
        return not self.found("stops")

    @property
    def duration_s(self) -> float:
        """Of all clips."""
        return sum(record.duration_s for record in self.clips.records)

    def _severity(self, problem: str) -> Severity:
        severity = PROBLEMS[problem].severity
        return "notice" if severity == "fault" and problem in self.allowed else severity

    def lines(self, num_examples: int = 3) -> list[str]:
        """The report as text: each problem with its first clips and what to do."""
        lines = [f"{counted(len(self.clips.records), 'clip')}, {self.duration_s / 3_600:.2f} h"]
        counts = Counter(finding.problem for finding in self.findings)
        for problem, count in counts.items():
            about = PROBLEMS[problem]
            lines.append(f"{self._severity(problem)}: {count} {problem}: {about.meaning}; {about.remedy}")
            clips = [finding for finding in self.findings if finding.problem == problem]
            lines += [f"    {self.name(one.clip)!r}{one.detail and f': {one.detail}'}" for one in clips[:num_examples]]
            lines += [f"    and {count - num_examples} more"] if count > num_examples else []
        licences = ", ".join(f"{name} {hours:.2f} h" for name, hours in self.hours.items())
        lines += [f"licences: {licences}", *(f"not checked: {reason}" for reason in self.left_out)]
        return lines if self.found("stops", "fault") else [*lines, "no fault found"]

    def name(self, clip: Path) -> str:
        """A clip's path in the folder."""
        folder = self.clips.folder.absolute()
        return clip.relative_to(folder).as_posix() if clip.is_relative_to(folder) else str(clip)


def clips_of(place: str | os.PathLike[str], valid_share: float = 0.05) -> Clips:
    """The clips of a manifest, of the manifest in a folder, or of a folder without one as a scan would list them.

    Raises:
        DataError: there is no such file or folder, it has no audio, or the manifest has an error.
    """
    path = Path(place)
    if path.is_file() or not path.is_dir():
        return Clips(folder=path.absolute().parent, records=read_manifest(path))
    contents = list_folder(path)
    empty = [
        file for file in contents.sidecars.values() if file.suffix.lower() == ".txt" and not file.read_bytes().strip()
    ]
    stems = {file.with_suffix("").absolute() for file in empty}
    empty_texts = {clip.absolute() for clip in contents.audio} & {
        clip.absolute() for clip in contents.audio if {clip.absolute(), clip.with_suffix("").absolute()} & stems
    }
    if (path / MANIFEST_NAME).is_file():
        records = read_manifest(path / MANIFEST_NAME)
        listed = {os.path.normpath(record.path) for record in records}
        unlisted = [clip.absolute() for clip in contents.audio if os.path.normpath(clip.absolute()) not in listed]
        return Clips(folder=path, records=records, unlisted=unlisted, empty_texts=empty_texts)
    found = scan_folder(path, valid_share=valid_share)
    if not found.records and not found.problems:
        raise DataError(f"{str(path)!r} has no audio files: there is nothing to check")
    unreadable = {file.absolute(): reason for file, reason in found.problems.items()}
    return Clips(folder=path, records=found.records, empty_texts=empty_texts, unreadable=unreadable)


def check(
    clips: Clips,
    settings: Settings | None = None,
    *,
    allowed: Collection[str] = (),
    cache: Path | None = None,
    num_processes: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Report:
    """Reads every clip completely and reports its problems.

    Args:
        allowed: names of faults that count as notices.
        cache: the folder of what was measured before; None keeps nothing.
        progress: called with the number of clips read and in total.

    Raises:
        InvalidRequest: a name in ``allowed`` is not that of a fault.
    """
    settings = settings or Settings()
    require_faults(allowed)
    present, jobs, has_tagger = _jobs(clips)
    analyses = analyse_files(jobs, has_tagger=has_tagger, cache=cache, num_processes=num_processes, progress=progress)
    readable = [
        (record, analysis)
        for record, analysis in zip(present, analyses, strict=True)
        if isinstance(analysis, Analysis) and _stop_of(record, analysis) is None
    ]
    related = families([one.print for _, one in readable], [one.levels.digest for _, one in readable])
    findings = [
        *_file_findings(clips, zip(present, analyses, strict=True)),
        *(finding for record, analysis in readable for finding in signal_findings(record, analysis, settings)),
        *ending_findings(readable),
        *_family_findings([[readable[number][0] for number in family] for family in related]),
        *(
            finding
            for record in clips.records
            for finding in caption_findings(record, record.path in clips.empty_texts)
        ),
        *constant_findings(clips.records),
        *(finding for record, analysis in readable for finding in contradictions(record, analysis)),
    ]
    order = {name: number for number, name in enumerate(PROBLEMS)}
    return Report(
        clips=clips,
        findings=sorted(findings, key=lambda finding: order[finding.problem]),
        families=[[readable[number][0].path for number in family] for family in related],
        hours=_hours(clips.records),
        allowed=allowed,
        left_out=() if has_tagger else (f"vocals: {INSTALL}",),
    )


def measure_part(
    clips: Clips,
    part: Part,
    *,
    cache: Path,
    num_processes: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Measures one machine's share of the clips into the cache, where ``check`` finds it, and gives their number."""
    _, jobs, has_tagger = _jobs(clips)
    own = part.own(jobs)
    analyse_files(own, has_tagger=has_tagger, cache=cache, num_processes=num_processes, progress=progress)
    return len(own)


def _jobs(clips: Clips) -> tuple[list[ClipRecord], list[Job], bool]:
    """The clips that are there, what is to be measured of them, and whether tags are measured."""
    present = [record for record in clips.records if record.path.exists()]
    jobs = [Job(record.path, bool(stated_tempo_key(record))) for record in present]
    return present, jobs, find_spec("musicnn") is not None


def require_faults(names: Collection[str]) -> None:
    """Checks that these are names of faults.

    Raises:
        InvalidRequest: one is not.
    """
    faults = [name for name, problem in PROBLEMS.items() if problem.severity == "fault"]
    if unknown := sorted(set(names) - set(faults)):
        raise InvalidRequest(f"{unknown[0]!r:.60} is not the name of a fault; they are {', '.join(faults)}")


def _file_findings(clips: Clips, analysed: Iterator[tuple[ClipRecord, Analysis | Unreadable]]) -> Iterator[Finding]:
    """Files that are missing, cannot be read, or are not those of the manifest."""
    for path, reason in clips.unreadable.items():
        yield Finding("unreadable", path, reason)
    for record in clips.records:
        if not record.path.exists():
            yield Finding("missing", record.path, "")
    for record, analysis in analysed:
        if isinstance(analysis, Unreadable):
            yield Finding("unreadable", record.path, analysis.reason)
        elif (stop := _stop_of(record, analysis)) is not None:
            yield stop
    for path in clips.unlisted:
        yield Finding("not in the manifest", path, "")


def _stop_of(record: ClipRecord, analysis: Analysis) -> Finding | None:
    """Why a run would stop at a clip that can be read: its length, or a header that is not as in the manifest."""
    levels = analysis.levels
    header = AudioHeader(levels.num_samples, levels.sample_rate_hz, levels.num_channels)
    try:
        check_usable(record.path, header)
    except AudioError as error:
        return Finding("too short", record.path, str(error))
    try:
        stated = plausible_header(record.path)
    except AudioError as error:
        return Finding("unreadable", record.path, without_salvage(str(error)))
    if is_as_recorded(record, header) and is_as_recorded(record, stated):
        return None
    return Finding(
        "changed",
        record.path,
        f"{levels.duration_s:.2f} s, {levels.sample_rate_hz} Hz, {levels.num_channels} channels; in the manifest "
        f"{record.duration_s:.2f} s, {record.sample_rate_hz} Hz, {record.num_channels}",
    )


def _family_findings(groups: Sequence[Sequence[ClipRecord]]) -> Iterator[Finding]:
    """Of each family, the clips of the second split as leaks, and the further ones of a split as duplicates."""
    for group in groups:
        firsts: dict[str, ClipRecord] = {}
        for record in group:
            other = next((first for split, first in firsts.items() if split != record.split), None)
            same = firsts.get(record.split)
            if same is not None:
                yield Finding("duplicate", record.path, f"the same music as {str(same.path)!r}")
            elif other is not None:
                yield Finding("leaked", record.path, f"in {record.split}; the same music as {str(other.path)!r}")
            firsts.setdefault(record.split, record)


def _hours(records: Sequence[ClipRecord]) -> dict[str, float]:
    hours: Counter[str] = Counter()
    for record in records:
        hours[licence_of(record.tags) or UNKNOWN] += record.duration_s / 3_600  # type: ignore[assignment]
    return dict(hours)
