"""The data doctor: what in a training set would stop a run or spoil what it learns, found before it starts."""

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
    "unreadable": "the file is empty, damaged or no audio",
    "changed": "length, rate or channels are not those of the manifest",
    "too short": "it has less than the millisecond that a codec needs",
    "leaked": "the same sound is in the other split too, so validation would measure memory",
    "duplicate": "the same sound came before in this split",
    "silent": "on the whole it is below -60 dB",
    "clipped": "more than one sample in a thousand is at full scale",
    "other rate": "it is resampled whenever it is read",
    "short": "it is shorter than a crop and will be padded or left out",
    "without caption": "nothing is said of it: no caption and no tags",
}
"""What is looked for, worst first, each with what it means."""

STOPPING = ("missing", "unreadable", "changed", "too short")
"""The problems that end a run with an error when it comes to such a clip."""

SILENCE_DB = -60.0
FULL_SCALE = 0.9999
CLIPPED_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``check`` found: for each problem the clips that have it, in the order of the manifest."""

    num_clips: int
    duration_s: float
    found: dict[str, list[str]]

    @property
    def is_trainable(self) -> bool:
        """Whether a run would get through; what is left may still be worth mending."""
        return not any(name in self.found for name in STOPPING)

    def text(self, num_examples: int = 3) -> str:
        """The report to read: a line for each problem, and the first clips that have it."""
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
    """Reads every clip of a manifest from end to end and says what is wrong with it.

    Args:
        segment_s: how long a crop will be; without it no clip is too short.
        sample_rate_hz: what the codec works at; without it every rate is right.
        progress: is called with the number of clips read and of all clips.

    Raises:
        DataError: the manifest itself cannot be read.
    """
    records = read_manifest(manifest)
    found: dict[str, list[str]] = {}
    heard: dict[str, str] = {}
    for number, record in enumerate(records, start=1):
        for problem in _problems(record, heard, segment_s, sample_rate_hz):
            found.setdefault(problem, []).append(str(record.path))
        if progress is not None:
            progress(number, len(records))
    return Report(
        num_clips=len(records),
        duration_s=sum(record.duration_s for record in records),
        found={name: found[name] for name in PROBLEMS if name in found},
    )


def _problems(
    record: ClipRecord, heard: dict[str, str], segment_s: float | None, sample_rate_hz: int | None
) -> Iterator[str]:
    """The names of a clip's problems; ``heard`` is the split of every sound so far and gets this one's."""
    if not record.captions and not record.tags:
        yield "without caption"
    if not record.path.exists():
        yield "missing"
        return
    try:
        sound = _listen(record.path)
    except AudioError:
        yield "unreadable"
        return
    problem = _problem_of_header(record, sound.header)
    if problem is not None:
        yield problem
    if sample_rate_hz is not None and sound.header.sample_rate_hz != sample_rate_hz:
        yield "other rate"
    if segment_s is not None and sound.header.duration_s < segment_s:
        yield "short"
    if sound.power < 10 ** (SILENCE_DB / 10):
        yield "silent"
    if sound.clipped_share > CLIPPED_SHARE:
        yield "clipped"
    if sound.digest in heard:
        yield "duplicate" if heard[sound.digest] == record.split else "leaked"
    heard.setdefault(sound.digest, record.split)


def _problem_of_header(record: ClipRecord, header: AudioHeader) -> str | None:
    """What is wrong with a clip's length, rate or channels, by its samples or by its header, which tokenize reads."""
    try:
        check_usable(record.path, header)
    except AudioError:
        return "too short"
    try:
        header = plausible_header(record.path)
    except AudioError:
        return "unreadable"
    return None if is_as_recorded(record, header) and is_as_recorded(record, header) else "changed"


@dataclass(frozen=True)
class _Sound:
    """What is kept of a clip that has been read.

    The digest is one of the samples and not of the file: the same sound with other tags is the same sound.
    """

    header: AudioHeader
    power: float
    clipped_share: float
    digest: str


def _listen(path: Path) -> _Sound:
    """Reads a clip block by block, so that a long one takes no more memory than a short one."""
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
    return _Sound(header, power / num_values, num_clipped / num_values, digest.hexdigest())
