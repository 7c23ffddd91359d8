"""Documents are true: examples, Python blocks and commands run, links and paths exist, decisions are indexed."""

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
GROUPS = ("data", "listen", "models")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/descant/starter/**/*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("20*.md"))
FOLDERS = ("src", "tests", "docs", "recipes", "examples", "benchmarks", "starter_corpus")
PATHS = [f"/{path.relative_to(ROOT)}" for path in ROOT.glob("*.*")] + [
    f"/{path.relative_to(ROOT)}{'/' * path.is_dir()}"
    for folder in FOLDERS
    for path in (ROOT / folder, *(ROOT / folder).rglob("*"))
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_short(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example))
    assert len(example.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_python_block_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_in_the_documents_exists(words, capsys):
    assert main([*(words if words[0] in GROUPS else words[:1]), "--help"]) == 0
    assert "usage" in capsys.readouterr().out


def test_the_readme_shows_python_and_commands():
    assert BLOCKS
    assert {("data", "tokenize"), ("models", "convert")} <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


# The changelog may mention files that are gone.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.stem)
def test_every_path_in_backticks_is_a_file_of_the_repository(page):
    """A path may begin in any folder: ``codec/any.py`` is in ``src/descant/``."""
    mentioned = set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`", page.read_text(encoding="utf-8")))
    assert [path for path in sorted(mentioned) if not any(known.endswith(f"/{path}") for known in PATHS)] == []


def test_the_layers_of_the_contributing_page_are_those_that_are_checked():
    declared = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    drawn = re.search(r"^```\n(apps .*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    layers = re.findall(r'"(.+)"', declared[1])
    assert [layer for layer in layers if layer != "__main__"] == re.findall(r"^\w.*?(?=  |$)", drawn[1], re.MULTILINE)


@pytest.mark.parametrize("note", DECISIONS, ids=lambda note: note.stem)
def test_a_decision_has_its_sections_and_is_indexed_under_its_title(note):
    text = note.read_text(encoding="utf-8")
    title = text.splitlines()[0].removeprefix("# ")
    assert f"\nDate: {note.name[:10]}. Status: " in text
    assert all(f"\n## {section}\n" in text for section in ("Context", "Decision", "Consequences"))
    assert f"| {note.name[:10]} | [{title}]({note.name}) |" in (note.parent / "README.md").read_text(encoding="utf-8")
