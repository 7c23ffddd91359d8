"""What the documents show can be run: every example, every Python block of the README, every command's name."""

import re
import runpy
from pathlib import Path

import pytest

from descant.apps.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = sorted(set(re.findall(r"^descant ([a-z-]+)(?: ([a-z-]+))?", README, flags=re.MULTILINE)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_short(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example))
    assert len(example.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_readme_exists(words, capsys):
    group = ["data"] if words[0] == "data" else []
    assert main([*group, words[1] if group else words[0], "--help"]) == 0
    assert "usage" in capsys.readouterr().out


def test_the_readme_shows_python_and_commands():
    assert BLOCKS
    assert ("data", "tokenize") in COMMANDS
