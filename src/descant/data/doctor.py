"""The data doctor: finds problems of a training set that would stop a run or harm training, before it starts."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from einops import rearrange

from descant.audio import AudioHeader, check_usable, read_in_blocks
from descant.data.manifest import ClipRecord, read_manifest
from descant.data.recorded import is_as_recorded
from descant.data.scan import plausible_header
from descant.errors import AudioError

PROBLEMS = {
    "missing": "the file is not there",
    "unreadable": "the file is empty, damaged or not audio",
    "changed": "length, rate or channels differ from the manifest",
    "too short": "it is shorter than the millisecond that a codec needs",
    "leaked": "the same audio is in the other split, so validation would measure memorisation",
    "duplicate": "the same audio occurs earlier in this split",
    "silent": "its level is below -60 dB",
    "clipped": "more than 0.1 % of its samples are at full scale",
    "other rate": "it is resampled each time it is read",
    "short": "it is shorter than a crop and will be padded or left out",
    "without caption": "it has neither captions nor tags",
}
"""All problems, the worst first, with their meaning."""

STOPPING = ("missing", "unreadable", "changed", "too short")
"""The problems that stop a run with an error."""

SILENCE_DB = -60.0
FULL_SCALE = 0.9999
CLIPPED_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of ``check``: for each problem its clips, in the order of the manifest."""

    num_clips: int
    duration_s: float
    found: dict[str, list[str]]

    @property
    def is_trainable(self) -> bool:
        """Whether a run would not stop with an error; other problems may still be worth fixing."""
        return not any(name in self.found for name in STOPPING)

    def text(self, num_examples: int = 3) -> str:
        """The report as text: a line for each problem, and its first clips."""
        lines = [f"{self.num_clips} clips, {self.duration_s / 3600:.2f} h"]
        for name, clips in self.found.items():
            lines.append(f"{len(clips)} {name}: {PROBLEMS[name]}")
            lines += [f"    {clip!r}" for clip in clips[:num_examples]]
            lines += [f"    and {len(clips) - num_examples} more"] if len(clips) > num_examples else []
        return "\n".join([*lines, "no problem found"] if not self.found else lines)


def check(
    manifest: str | os.PathLike[str],
    *,
    segment_s: float | None = None,
    sample_rate_hz: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Reads every clip of a manifest completely and reports its problems.

    Args:
        segment_s: length of a training crop; None skips this check.
        sample_rate_hz: sample rate of the codec; None skips this check.
        progress: called with the number of clips read and in total.

    Raises:
        DataError: the manifest cannot be read.
    """
    records = read_manifest(manifest)
    found: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for number, record in enumerate(records, start=1):
        for problem in _problems(record, splits, segment_s, sample_rate_hz):
            found.setdefault(problem, []).append(str(record.path))
        if progress is not None:
            progress(number, len(records))
    return Report(
        num_clips=len(records),
        duration_s=sum(record.duration_s for record in records),
        found={name: found[name] for name in PROBLEMS if name in found},
    )


def _problems(
    record: ClipRecord, splits: dict[str, str], segment_s: float | None, sample_rate_hz: int | None
) -> Iterator[str]:
    """The names of a clip's problems; ``splits`` maps the digest of each clip so far to its split and is extended."""
    if not record.captions and not record.tags:
        yield "without caption"
    if not record.path.exists():
        yield "missing"
        return
    try:
        audio = _read(record.path)
    except AudioError:
        yield "unreadable"
        return
    problem = _problem_of_header(record, audio.header)
    if problem is not None:
        yield problem
    if sample_rate_hz is not None and audio.header.sample_rate_hz != sample_rate_hz:
        yield "other rate"
    if segment_s is not None and audio.header.duration_s < segment_s:
        yield "short"
    if audio.power < 10 ** (SILENCE_DB / 10):
        yield "silent"
    if audio.clipped_share > CLIPPED_SHARE:
        yield "clipped"
    if audio.digest in splits:
        yield "duplicate" if splits[audio.digest] == record.split else "leaked"
    splits.setdefault(audio.digest, record.split)


def _problem_of_header(record: ClipRecord, header: AudioHeader) -> str | None:
    """A problem of a clip's length, rate or channels, by its samples or by its header, which ``tokenize`` reads."""
    try:
        check_usable(record.path, header)
    except AudioError:
        return "too short"
    try:
        stated = plausible_header(record.path)
    except AudioError:
        return "unreadable"
    return None if is_as_recorded(record, header) and is_as_recorded(record, stated) else "changed"


@dataclass(frozen=True)
class _Audio:
    """Statistics of a clip that has been read.

    The digest is that of the samples, not of the file: the same audio with other tags is a duplicate.
    """

    header: AudioHeader
    power: float
    clipped_share: float
    digest: str


def _read(path: Path) -> _Audio:
    """Reads a clip block by block, so that memory does not grow with its length."""
    digest, power = hashlib.sha256(), 0.0
    num_clipped = num_samples = num_channels = sample_rate_hz = 0
    for block, rate_hz in read_in_blocks(path):
        digest.update(rearrange(block, "C N -> N C").contiguous().numpy().tobytes())
        power += block.double().square().sum().item()
        num_clipped += int((block.abs() >= FULL_SCALE).sum())
        num_samples += block.shape[1]
        num_channels, sample_rate_hz = len(block), rate_hz
    header = AudioHeader(num_samples, sample_rate_hz, num_channels)
    num_values = num_samples * num_channels
    digest.update(repr(header[1:]).encode())
    return _Audio(header, power / num_values, num_clipped / num_values, digest.hexdigest())
