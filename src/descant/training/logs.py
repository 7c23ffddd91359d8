"""Progress of a run: lines on the console, and the same values as one JSON object per line."""

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from descant import processes
from descant.atomic import write_atomically
from descant.errors import AudioError, CheckpointError
from descant.training.task import Metrics


class RunningMeans:
    """Means of the metrics since the last line of the log; ``audio_s`` is summed instead.

    Values stay on their device until they are read, so that a step does not synchronise with it.
    """

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._sums: dict[str, float | Tensor] = {}
        self._counts: dict[str, int] = {}
        self._started = time.monotonic()

    def add(self, metrics: Metrics) -> None:
        """Adds the metrics of one batch."""
        for name, value in metrics.items():
            value = value.detach().float() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means, with ``audio_s_per_s`` in place of ``audio_s``; starts over afterwards."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items() if name != "audio_s"}
        if "audio_s" in self._sums:
            means["audio_s_per_s"] = float(self._sums["audio_s"]) / max(time.monotonic() - self._started, 1e-9)
        self._restart()
        return means


def merged(means: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of several processes as those of one: speeds are summed, everything else is averaged."""
    if len(means) == 1:
        return dict(means[0])
    names = dict.fromkeys(name for of_one in means for name in of_one)
    values = {name: [of_one[name] for of_one in means if name in of_one] for name in names}
    return {name: sum(all_) / (1 if name == "audio_s_per_s" else len(all_)) for name, all_ in values.items()}


SLOW = 1.5
"""A process that takes this many times as long as the median one is named on the console."""


def slowest(times: Sequence[tuple[float, str]]) -> dict[str, float]:
    """Of several processes the slowest one and how many times as long as the median it took; nothing of one alone.

    Args:
        times: the seconds that each spent on its own batches, and its machine.
    """
    if len(times) == 1:
        return {}
    longest_s, rank = max((own_s, number) for number, (own_s, _) in enumerate(times))
    ratio = longest_s / max(statistics.median_low([own_s for own_s, _ in times]), 1e-9)
    if ratio > SLOW:
        say(f"process {rank} on {times[rank][1]} takes {ratio:.1f} times as long as the median one")
    return {"slowest_process": float(rank), "slowest_ratio": ratio}


LEFT_OUT = "left_out"
"""The kind of a line that names a clip which could not be used, or only in part, and says why."""


class RunLog:
    """The file ``log.jsonl`` of a run, and the console.

    Every line has ``step`` (updates done) and ``kind``: "train" or "validation" with numbers, or ``LEFT_OUT``.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Appends one line. Once this returns, the line survives a crash of the process, though not of the machine.

        Raises:
            CheckpointError: the disk is full or the file cannot be written.
        """
        self._append([{"step": step, "kind": kind, **{name: _json_number(value) for name, value in values.items()}}])

    def leave_out(self, step: int, reasons: Mapping[str, str]) -> None:
        """Names clips that could not be used, each with the reason, unless the log names them already.

        Raises:
            CheckpointError: as ``write``.
        """
        known = {line["clip"] for line in self.lines(LEFT_OUT)} if reasons else set()
        new = [clip for clip in reasons if clip not in known]
        if new:
            self._append([{"step": step, "kind": LEFT_OUT, "clip": clip, "reason": reasons[clip]} for clip in new])

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The lines of a kind, without damaged ones."""
        lines = read_log(self.file) if self.file.exists() else []
        return [line for line in lines if line["kind"] == kind]

    def rewind(self, step: int) -> None:
        """Removes the lines after that step, an unfinished last line, and damaged lines, which it reports."""
        kept = [line for line in read_log(self.file, note=say) if line["step"] <= step] if self.file.exists() else []
        with _writing(self.file):
            write_atomically(self.file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def set_aside(self) -> None:
        """Renames a log that has lines to ``log-1.jsonl`` or the next free name."""
        if not self.file.exists() or not self.file.stat().st_size:
            return
        names = (self.file.with_name(f"{self.file.stem}-{number}{self.file.suffix}") for number in itertools.count(1))
        with _writing(self.file):
            self.file.rename(next(name for name in names if not name.exists()))

    def last(self, step: int, kind: str) -> dict[str, float] | None:
        """The values already logged for this step, NaN in place of those that were not finite; or None."""
        found = [line for line in self.lines(kind) if line["step"] == step]
        if not found:
            return None
        values = {name: value for name, value in found[-1].items() if name not in ("step", "kind")}
        return {name: math.nan if value is None else value for name, value in values.items()}

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        with _writing(self.file), self.file.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(line) + "\n" for line in lines))


def read_log(file: Path, note: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """The lines of a run's log, except damaged ones and an unfinished last line left by a killed process.

    Args:
        note: called with a message that lists the damaged lines, if there are any.
    """
    *whole, _ = file.read_bytes().split(b"\n")
    lines = [_log_line(line) for line in whole]
    damaged = [str(number) for number, line in enumerate(lines, start=1) if line is None]
    if damaged and note is not None:
        note(f"{file}: left out {len(damaged)} damaged lines, number {', '.join(damaged[:5])}")
    return [line for line in lines if line is not None]


def _log_line(text: bytes) -> dict[str, Any] | None:
    """The line as it was written, or None if it is damaged."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int or not _is_number(line["step"]):
        return None
    values = [value for name, value in line.items() if name not in ("step", "kind")]
    if line.get("kind") == LEFT_OUT:
        is_whole = line.keys() >= {"clip", "reason"} and all(isinstance(value, str) for value in values)
    else:
        is_whole = line.get("kind") in ("train", "validation") and all(map(_is_number, values))
    return line if is_whole else None


def _is_number(value: Any) -> bool:
    """Whether a value could have been written as a number or, where it was not finite, as null."""
    return value is None or type(value) is float or (type(value) is int and abs(value) < 2**63)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, AudioError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{file}: cannot be written ({reason}); free the disk, then resume") from error


def say(text: str) -> None:
    """Prints one line to stderr, where progress goes; stdout is for results. Of several processes the first prints."""
    if processes.is_first():
        print(text, file=sys.stderr, flush=True)


def console_line(step: int, max_steps: int, values: Mapping[str, float], left_s: float | None = None) -> str:
    """The values of one log line as readable text, for example ``step 120/5000  ce 5.31  lr 0.0003  left 12:05``."""
    parts = [f"step {step}/{max_steps}"] + [f"{name} {value:.4g}" for name, value in values.items()]
    if left_s is not None:
        parts.append(f"left {clock(left_s)}")
    return "  ".join(parts)


def clock(duration_s: float) -> str:
    """A duration as ``12:05`` or, from an hour on, ``3:12:05``."""
    minutes, seconds = divmod(round(duration_s), 60)
    return f"{minutes}:{seconds:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _json_number(value: float) -> float | None:
    # JSON has no NaN, and the line that shows what went wrong must stay readable.
    return value if math.isfinite(value) else None
