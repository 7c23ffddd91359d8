"""Measures speed on this machine and appends a line for each measurement to ``results.jsonl``: ``make bench``.

Each measurement is ``descant bench`` in a process of its own, so that its memory is its own too. A line is what that
prints, with the commit and the date. Lines are only ever written by this script.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.jsonl")
KINDS = ("decode", "codec", "train")


def commit() -> str:
    """The commit that is measured, with ``-dirty`` if tracked files differ from it, earlier results aside."""
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(exclude){RESULTS.name}")
    return _git("rev-parse", "--short", "HEAD") + ("-dirty" if status else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=RESULTS.parent, capture_output=True, text=True, check=True
    ).stdout.strip()


def measure(kind: str, options: list[str]) -> dict[str, Any]:
    """The numbers of one measurement."""
    words = [sys.executable, "-m", "descant", "bench", kind, "--json", *options]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measures what is asked for; options it does not know go on to ``descant bench``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what to measure (default: all)")
    arguments, options = parser.parse_known_args()
    stamp = {"commit": commit(), "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
    for kind in arguments.kinds:
        line = json.dumps({**stamp, **measure(kind, options)})
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line)


if __name__ == "__main__":
    main()
