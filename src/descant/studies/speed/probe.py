"""The process that ``fresh_process.py`` times: it imports the package, loads a model and generates its first step.

``python -m descant.studies.speed.probe LAST BEGAN MODEL DEVICE PRECISION``, where LAST is ``load`` or ``first-step``,
and BEGAN is when the process was started, on the clock ``time.monotonic``, which all processes share. It prints one
JSON object.
"""

# Nothing of the package is imported here: importing is a part of what is measured.
import json
import sys
import time
from contextlib import suppress
from typing import Any

GENERATED_S = 5.0
"""Music that is long enough to be decoded in chunks."""


def main(last: str, began: float, model: str, device: str, precision: str) -> dict[str, Any]:
    """Seconds from the start of the process to the end of each stage, those of loading alone, and the machine."""
    from descant import load

    import_s = time.monotonic() - began
    music_gen = load(model, device=device, precision=precision)
    from descant.studies.speed.timing import wait_for

    wait_for(music_gen.model.device)
    load_s = time.monotonic() - began
    result = {"import_seconds": import_s, "load_seconds": load_s, "seconds": load_s - import_s}
    if last == "first-step":
        result["first_step_seconds"] = _first_step(music_gen) - began
    else:
        result |= _generating(music_gen)
    from descant.studies.speed.machine import machine_info

    return {**result, **machine_info(music_gen)}


def _generating(music_gen: Any) -> dict[str, Any]:
    """The memory of the process before and after it generates music, and the time to the first sound of a stream, which
    is the second one: what happens once in a process belongs to a cold start."""
    from descant.studies.speed.decoding import PROMPT
    from descant.studies.speed.machine import resident_bytes

    loaded = resident_bytes()
    music_gen.generate(PROMPT, duration_s=min(GENERATED_S, music_gen.max_duration_s), seed=0)
    generated = resident_bytes()
    began = time.monotonic()
    next(music_gen.stream(PROMPT, duration_s=1.0, seed=0))
    return {
        "loaded_memory_bytes": loaded,
        "generated_memory_bytes": generated,
        "first_sound_seconds": time.monotonic() - began,
    }


def _first_step(music_gen: Any) -> float:
    """The time at which the first step is done, on the clock of ``main``."""
    from descant.errors import Cancelled
    from descant.studies.speed.decoding import PROMPT
    from descant.studies.speed.timing import wait_for

    times: list[float] = []

    def on_step(done: int, total: int) -> None:
        del done, total
        wait_for(music_gen.model.device)
        times.append(time.monotonic())

    with suppress(Cancelled):
        music_gen.generate(PROMPT, duration_s=1.0, seed=0, progress=on_step, cancel=lambda: bool(times))
    return times[0]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])))
