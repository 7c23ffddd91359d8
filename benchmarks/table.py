"""Writes the tables of README.md and docs/speed.md from ``results.jsonl``: ``make bench-docs``.

A table stands between two comments that name it, ``<!-- speed: decode -->`` and ``<!-- end of speed -->``. Between
``<!-- speed: plots -->`` and the end are the pictures that ``plots.py`` draws of the same results.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from results import machine, newest, read, short_machine

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "speed.md")
PLACE = re.compile(r"(<!-- speed: (?P<name>[a-z-]+) -->\n).*?(<!-- end of speed -->)", re.DOTALL)

NOTHING = "Not measured yet.\n"
TITLES = {
    "steps": "Milliseconds of a step over the steps in the cache",
    "duration": "Seconds over the length of the music",
    "count": "Throughput over the number of requests at once",
}
"""Of the plots, by the name of their curve."""

Line: TypeAlias = dict[str, Any]
Column: TypeAlias = tuple[str, Callable[[Line], str]]


def spread(name: str, factor: float = 1.0) -> Callable[[Line], str]:
    """The median of a value, and its smallest and largest in brackets where there were several runs."""

    def text(line: Line) -> str:
        parts = [_rounded(factor * line[f"{name}{end}"]) for end in ("", "_min", "_max") if f"{name}{end}" in line]
        return (
            f"{parts[0]} ({parts[1]} to {parts[2]})" if len(parts) == 3 and parts[1] != parts[2] else "".join(parts[:1])
        )

    return text


def median(name: str) -> Callable[[Line], str]:
    """Only the median of a value; empty where it was not measured."""
    return lambda line: _rounded(line[name]) if name in line else ""


def interval(name: str) -> Callable[[Line], str]:
    """A mean and its 95 % interval in brackets."""

    def text(line: Line) -> str:
        value, low, high = (_rounded(line[name][part]) for part in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    return text


def difference(name: str) -> Callable[[Line], str]:
    """The mean difference to fp32 and its 95 % interval; empty for fp32 itself."""
    found = interval(f"{name}_difference")
    return lambda line: "" if line["precision"] == "fp32" else found(line)


def _rounded(value: float) -> str:
    """A number with three significant digits, or all digits of its whole part if there are more."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _machine(line: Line) -> str:
    return machine(line) + _threads(line)


def _short_machine(line: Line) -> str:
    return short_machine(line) + _threads(line)


def _threads(line: Line) -> str:
    count = line["num_threads"]
    return "" if line["device"] != "cpu" else f", {count} thread{'s' if count != 1 else ''}"


def _model(line: Line) -> str:
    return f"{line['model']}, {line['precision']}"


def _music(line: Line) -> str:
    count = line.get("count", 1)
    return f"{line['audio_s']:g} s" if count == 1 else f"{count} x {line['duration_s']:g} s"


def _share(line: Line) -> str:
    return f"{100 * line['share_of_ceiling']:.0f} %"


def _wins(line: Line) -> str:
    return "" if line["precision"] == "fp32" else interval("tag_wins")(line)


def _transformers(name: str) -> Callable[[Line], str]:
    ratio = spread(f"transformers_{name}_ratio")
    return lambda line: f"{text} times as long" if (text := ratio(line)) else ""


MACHINE: tuple[Column, ...] = (("machine", _machine), ("model", _model))
ORIGIN: tuple[Column, ...] = (
    ("torch", lambda line: line["torch"]),
    ("commit", lambda line: line["commit"]),
    ("date", lambda line: line["date"][:10]),
)
SUMMARY: tuple[Column, ...] = (
    ("machine", _short_machine),
    ("model", _model),
    ("music", _music),
    ("seconds", median("seconds")),
    ("seconds of music a second", lambda line: _rounded(line["audio_s"] / line["seconds"])),
    (
        "transformers takes",
        lambda line: f"{text} times as long" if (text := median("transformers_seconds_ratio")(line)) else "",
    ),
)
DECODE: tuple[Column, ...] = (
    ("music", _music),
    ("seconds", spread("seconds")),
    ("ms a step", spread("ms_per_step")),
    ("of the bandwidth", _share),
    ("transformers", _transformers("seconds")),
)
TABLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "summary": ("decode", SUMMARY),
    "decode": ("decode", (*MACHINE, *DECODE, ("peak memory, GB", spread("peak_memory_bytes", 1e-9)), *ORIGIN)),
    "codec": (
        "codec",
        (
            *MACHINE,
            ("audio", _music),
            ("seconds to encode", spread("encode_seconds")),
            ("transformers", _transformers("encode_seconds")),
            ("seconds to decode", spread("decode_seconds")),
            ("transformers", _transformers("decode_seconds")),
            *ORIGIN,
        ),
    ),
    "train": (
        "train",
        (
            *MACHINE,
            ("audio in a batch", _music),
            ("seconds a step", spread("seconds")),
            ("of the arithmetic rate", _share),
            *ORIGIN,
        ),
    ),
    "load": (
        "load",
        (*MACHINE, ("seconds", spread("seconds")), ("peak memory, GB", spread("peak_memory_bytes", 1e-9)), *ORIGIN),
    ),
    "cold-start": (
        "cold-start",
        (
            *MACHINE,
            ("package imported", spread("import_seconds")),
            ("first step", spread("first_step_seconds")),
            ("first sound", spread("first_sound_seconds")),
            ("command of 1 s", spread("command_seconds")),
            *ORIGIN,
        ),
    ),
    "rounding-logits": (
        "rounding, logits",
        (
            *MACHINE,
            ("error of the logits", lambda line: f"{100 * line['error']:.3g} %"),
            ("growth of the cross-entropy, nats", spread("divergence")),
            *ORIGIN,
        ),
    ),
    "rounding-codes": (
        "rounding, predictions",
        (
            *MACHINE,
            ("cross-entropy, nats", interval("cross_entropy")),
            ("difference to fp32", difference("cross_entropy")),
            *((f"codebook {number}", difference(f"cross_entropy_q{number}")) for number in range(4)),
            *ORIGIN,
        ),
    ),
    "rounding-music": (
        "rounding, music",
        (
            *MACHINE,
            ("instruments recognised", interval("recognised")),
            ("difference to fp32", difference("recognised")),
            ("preferred to fp32 by the tagger", _wins),
            ("tempo within 5 %", interval("tempo")),
            ("difference to fp32", difference("tempo")),
            *ORIGIN,
        ),
    ),
}
"""For each name of a table the kind of its measurements, and its columns."""


def table(name: str, lines: list[Line]) -> str:
    """The rows of a table in Markdown, or a sentence if nothing was measured. A column without values is left out."""
    kind, columns = TABLES[name]
    measured = newest(lines, kind)
    rows = [[text(line) for _, text in columns] for line in measured]
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    if not kept:
        return NOTHING
    header = [columns[place][0] for place in kept]
    body = [[row[place] for place in kept] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, ["---"] * len(kept), *body))


def pictures(lines: list[Line]) -> str:
    """The plots of the curves that were measured."""
    drawn = [curve for curve in TITLES if newest(lines, f"decode by {curve}")]
    return "\n".join(f"![{TITLES[curve]}](speed/{curve}.svg)\n" for curve in drawn) or NOTHING


def updated(page: str, lines: list[Line]) -> str:
    """A page with its tables written anew."""

    def written(place: re.Match[str]) -> str:
        text = pictures(lines) if place["name"] == "plots" else table(place["name"], lines)
        return f"{place[1]}{text}{place[3]}"

    return PLACE.sub(written, page)


def main() -> None:
    """Writes the tables of all pages."""
    lines = read()
    for page in PAGES:
        page.write_text(updated(page.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main()
