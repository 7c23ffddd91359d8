"""Speed and memory of what happens once in a process: loading a model, and everything before the first sound."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from descant.errors import CheckpointError
from descant.studies.speed.busy import with_busy
from descant.studies.speed.decoding import PROMPT
from descant.studies.speed.timing import Values, measure

COMMAND_S = 1.0
"""Length of the music that the whole command makes."""

LOADED = ("seconds", "first_sound_seconds", "loaded_memory_bytes", "generated_memory_bytes", "peak_memory_bytes")
"""What a process measures of a loaded model."""

MACHINE = ("model", "num_parameters", "device", "processor", "precision", "num_threads", "torch")
"""What a process says of itself that does not change from one to the next."""


def load_speed(model: str, device: str, precision: str, repeats: int = 3, *, num_busy: int = 0) -> dict[str, Any]:
    """Seconds to load a model, each time in a process of its own; the memory that this process has afterwards, after
    generating a few seconds of music, and the most that it ever had; and the seconds from a request to the first sound
    of a stream.

    The first time its files may come from the disk, later from the system's cache.

    Args:
        num_busy: also measures while this number of other processes are busy.

    Raises:
        CheckpointError: a process failed; the message has its last line.
    """
    machine: dict[str, Any] = {}

    def loaded() -> Values:
        machine.update(_probe("load", model, device, precision))
        return {name: float(machine[name]) for name in LOADED if machine.get(name) is not None}

    values = measure(loaded, {"busy": with_busy(num_busy, loaded)} if num_busy else {}, repeats)
    return {"what": "load", "num_busy": num_busy, **values, **{name: machine[name] for name in MACHINE}}


def cold_start_speed(model: str, device: str, precision: str, repeats: int = 3, *, num_busy: int = 0) -> dict[str, Any]:
    """Seconds from the start of a process: until the package is imported, the model is loaded and the first step is
    done; until the first sound of a stream comes out of the command; and until a command that makes one second ends.

    Args:
        num_busy: also measures while this number of other processes are busy.

    Raises:
        CheckpointError: a process failed; the message has its last line.
    """
    machine: dict[str, Any] = {}
    options = ["--model", model, "--device", device, "--precision", precision, "--seed", "0"]

    def started() -> Values:
        machine.update(_probe("first-step", model, device, precision))
        return {
            **{name: machine[name] for name in ("import_seconds", "load_seconds", "first_step_seconds")},
            "first_sound_seconds": _first_sound_seconds(options),
            "command_seconds": _command_seconds(options),
        }

    values = measure(started, {"busy": with_busy(num_busy, started)} if num_busy else {}, repeats)
    result = {"what": "cold-start", "command_audio_s": COMMAND_S, "num_busy": num_busy, **values}
    return {**result, **{name: machine[name] for name in MACHINE}}


def _environ() -> dict[str, str]:
    """The environment of the processes that are measured. Python may keep the bytecode of the package, as installers
    do, wherever this process may not: compiling the source took a fifth of a cold start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _probe(last: str, model: str, device: str, precision: str) -> dict[str, Any]:
    """What ``probe.py`` prints in a process of its own."""
    words = [sys.executable, "-m", "descant.studies.speed.probe", last, str(time.monotonic()), model, device, precision]
    done = subprocess.run(words, env=_environ(), capture_output=True, text=True, check=False)
    _check(done.returncode, done.stderr)
    return json.loads(done.stdout)


def _first_sound_seconds(options: Sequence[str]) -> float:
    """The time to the first byte of audio; the rest of the music is not waited for."""
    began = time.monotonic()
    stream = ("--stream", "-", "--stream-format", "raw")
    with subprocess.Popen(
        [*_generate(options), *stream],
        env=_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            is_sound = process.stdout.read(1) != b""
            seconds = time.monotonic() - began
        finally:
            process.kill()
        _, messages = process.communicate()
    _check(int(not is_sound), messages.decode(errors="replace"))
    return seconds


def _command_seconds(options: Sequence[str]) -> float:
    with TemporaryDirectory(prefix="descant-bench-") as folder:
        began = time.monotonic()
        words = [*_generate(options), "--output", str(Path(folder) / "out.wav")]
        done = subprocess.run(
            words, env=_environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - began
    _check(done.returncode, done.stderr)
    return seconds


def _generate(options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "descant", "generate", PROMPT, "--duration", f"{COMMAND_S:g}", *options]


def _check(code: int, messages: str) -> None:
    if code != 0:
        last = (messages.strip().splitlines() or ["it printed nothing"])[-1]
        raise CheckpointError(f"a process that was measured failed: {last:.600}")
