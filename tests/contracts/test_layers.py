"""Imports point down, and every outside library comes in by one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "descant"


def test_imports_point_down():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def imported_by(file: Path) -> set[str]:
    """First parts of the names of all modules that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("library", "doors"),
    [
        ("transformers", {"conditioning/encoders/frozen.py"}),
        ("soundfile", {"audio/sndfile.py"}),
        ("av", {"audio/ffmpeg.py", "audio/mp3_stream.py"}),
        ("mutagen", {"audio/tag_files.py", "audio/common_tags.py"}),
        ("demucs", {"conditioning/stems.py"}),
        ("jinja2", {"html_pages/__init__.py"}),
        ("librosa", {"audio/analysis.py"}),
        ("mido", {"transcription/midi.py"}),
        ("onnxruntime", {"transcription/network.py"}),
        ("tokenizers", {"conditioning/encoders/small.py", "studies/speed/untrained.py", "training/distill.py"}),
    ],
)
def test_an_outside_library_comes_in_by_its_door_only(library, doors):
    users = {str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py") if library in imported_by(file)}
    assert users == doors


def test_the_library_does_not_import_the_starters_corpus():
    """``starter_corpus`` is part of the repository and not of the wheel."""
    assert not [file for file in SOURCE.rglob("*.py") if "starter_corpus" in imported_by(file)]
