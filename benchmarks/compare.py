"""Compares the speed of two checkouts side by side and appends the ratio to ``results.jsonl``.

::

    python benchmarks/compare.py ../descant-before --kinds decode codec --rounds 5

The two take turns, so that whatever else changes on the machine meanwhile changes for both. Each measurement is
``descant bench`` in a process of its own. What this script is given after its own options goes on to ``descant bench``.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from results import append
from run import commit

HERE = Path(__file__).resolve().parents[1]
SECONDS = {
    "decode": ("seconds",),
    "codec": ("encode_seconds", "decode_seconds"),
    "train": ("seconds",),
    "load": ("seconds",),
    "cold-start": ("import_seconds", "first_step_seconds", "first_sound_seconds", "command_seconds"),
}


def measure(checkout: Path, kind: str, options: list[str]) -> dict[str, Any]:
    """The numbers of one measurement of the package in a checkout."""
    words = [sys.executable, "-m", "descant", "bench", kind, "--json", "--repeats", "1", *options]
    environ = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    return json.loads(subprocess.run(words, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout)


def processor() -> str:
    """The processor's name, as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def commit_of(checkout: Path) -> str:
    """The commit that another checkout is at."""
    words = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measures both checkouts in turns and writes one line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--kinds", nargs="+", choices=SECONDS, default=("decode",), help="what to measure")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each checkout (default: 5)")
    arguments, options = parser.parse_known_args()
    stamp = {"commit": commit(), "compared_with": commit_of(arguments.before), "processor": processor()}
    stamp["date"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    for kind in arguments.kinds:
        found: dict[Path, list[dict[str, Any]]] = {arguments.before.resolve(): [], HERE: []}
        for _ in range(arguments.rounds):
            for checkout, results in found.items():
                results.append(measure(checkout, kind, options))
        line: dict[str, Any] = {**stamp, "what": f"{kind}, compared", "rounds": arguments.rounds}
        for name in SECONDS[kind]:
            before, after = (statistics.median(one[name] for one in results) for results in found.values())
            line |= {f"{name}_before": before, name: after, f"{name}_ratio": after / before}
        line |= {name: found[HERE][0][name] for name in ("model", "device", "precision", "num_threads", "torch")}
        append(line)
        print(json.dumps(line))


if __name__ == "__main__":
    main()
