"""Every command and every line of Python of a how-to runs, in order and in one folder."""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from descant.apps.cli.main import build_parser, main

PAGES = sorted((Path(__file__).parents[2] / "docs" / "how-to").glob("*.md"))
CONTROLS = {"melody", "refine", "continue", "long-form", "stream", "loop", "text", "style", "tempo-and-key"}
EXTENSIONS = {f"add-a-{part}" for part in ("pattern", "condition", "codec", "layout", "metric", "runtime")}


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Kind and text of every block: ``sh``, ``sh network`` or ``python``."""
    return re.findall(r"^```([a-z ]+)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def run_line(line: str) -> None:
    if ">" in line:
        words = ["-m", "descant", *shlex.split(line.partition(">")[0])[1:]]
        target = Path(line.partition(">")[2].strip())
        target.write_bytes(subprocess.run([sys.executable, *words], check=True, capture_output=True).stdout)
        assert target.stat().st_size > 1_000
        return
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = main(shlex.split(line)[1:])
    assert code == 0, f"{line}: {output.getvalue()}"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_line_of_a_how_to_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, block in blocks_of(page):
        if kind == "python":
            exec(compile(block, page.name, "exec"), names)
            continue
        lines = [line for line in block.splitlines() if line]
        assert all(line.startswith("descant ") for line in lines), kind
        for line in lines:
            # Commands that need a network are parsed only.
            run_line(line) if kind == "sh" else build_parser().parse_args(shlex.split(line)[1:])


def test_there_is_a_how_to_for_each_control_and_each_extension():
    assert {page.stem for page in PAGES} >= CONTROLS | EXTENSIONS
