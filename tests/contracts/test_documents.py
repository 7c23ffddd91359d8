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
SHOWN = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
COMMANDS = sorted(set(re.findall(r"^descant ([a-z-]+)(?: ([a-z-]+))?", SHOWN, flags=re.MULTILINE)))
GROUPS = ("data", "models")


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
def test_a_command_that_is_shown_exists(words, capsys):
    assert main([*(words if words[0] in GROUPS else words[:1]), "--help"]) == 0
    assert "usage" in capsys.readouterr().out


def test_the_readme_shows_python_and_commands():
    assert BLOCKS
    assert {("data", "tokenize"), ("models", "convert")} <= set(COMMANDS)
