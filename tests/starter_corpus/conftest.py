"""Shared fixtures: one synthesiser, and the programs without which a test is skipped."""

import shutil
from collections.abc import Iterator

import pytest

from descant.errors import MissingExtra
from starter_corpus.render import Synthesizer


@pytest.fixture(scope="session")
def synthesizer() -> Iterator[Synthesizer]:
    try:
        synthesizer = Synthesizer()
    except MissingExtra as error:
        pytest.skip(f"needs FluidSynth and its soundfonts: {error}")
    yield synthesizer
    synthesizer.close()


@pytest.fixture(scope="session")
def programs() -> None:
    """The programs that write the notes of groove and tune pieces."""
    for program in ("mma", "abc2midi", "sox"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program}")
    pytest.importorskip("music21", reason="needs music21's corpus")
