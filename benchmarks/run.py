"""Measures speed on this machine and appends a line for each measurement to ``results.jsonl``: ``make bench``.

::

    python benchmarks/run.py
    python benchmarks/run.py --kinds decode codec --untrained small -d 2 --against transformers
    python benchmarks/run.py --kinds decode --curve steps --threads 1

Each measurement is ``descant bench`` in a process of its own, so that its memory is its own too. Options that this
script does not know go on to it; all kinds that are named must take them. A line is what it prints, with the commit and
the date. Lines are only ever written by this script and by ``compare.py``.
"""

import argparse
import datetime
import json
import subprocess
import sys
from typing import Any

from results import KINDS, RESULTS, append


def commit() -> str:
    """The commit that is measured, with ``-dirty`` if tracked files differ from it, earlier results aside."""
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(exclude){RESULTS.name}")
    return _git("rev-parse", "--short", "HEAD") + ("-dirty" if status else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=RESULTS.parent, capture_output=True, text=True, check=True
    ).stdout.strip()


def stamp() -> dict[str, str]:
    """What every line has besides its figures: commit and date."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"commit": commit(), "date": now}


def measure(kind: str, options: list[str]) -> dict[str, Any]:
    """The numbers of one measurement."""
    words = [sys.executable, "-m", "descant", "bench", kind, "--json", *options]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what to measure (default: all)")
    arguments, options = parser.parse_known_args()
    measured = stamp()
    for kind in arguments.kinds:
        line = {**measured, **measure(kind, options)}
        append(line)
        print(json.dumps(line))


if __name__ == "__main__":
    main()
