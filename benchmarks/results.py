"""The measurements in ``results.jsonl``: one JSON object a line, newest last."""

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.jsonl")
KINDS = ("decode", "codec", "train", "load", "cold-start")
"""The commands of ``descant bench``; a line of one has its name as ``what``."""
CONDITIONS = ("processor", "device", "num_threads", "model", "precision", "what", "count")
"""What tells measurements apart. A later one under the same conditions replaces an earlier one."""


def read(file: Path = RESULTS) -> list[dict[str, Any]]:
    """All lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def append(line: dict[str, Any], file: Path = RESULTS) -> None:
    """Adds a line."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")


def machine(line: dict[str, Any]) -> str:
    """The processor, or the device where that is another one."""
    return str(line["processor"] if line["device"] == "cpu" else line["device"])


def short_machine(line: dict[str, Any]) -> str:
    """Without the numbers by which a processor's family is told from others of its name."""
    return re.sub(r"\(R\)| Processor|, family \d+, model \d+", "", machine(line))


def newest(lines: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """The newest line of this kind under each set of conditions, in the order of the conditions.

    The first lines of the file, which do not name their processor, are left out.
    """
    found = {
        tuple(str(line.get(name, "")) for name in CONDITIONS): line
        for line in lines
        if line["what"] == what and "processor" in line
    }
    return [found[conditions] for conditions in sorted(found)]
