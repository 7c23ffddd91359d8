"""The folder of music21's corpus, found without importing music21 (which takes seconds)."""

import importlib.util
from pathlib import Path

from descant.errors import MissingExtra


def corpus_folder() -> Path:
    """The folder of music21's corpus.

    Raises:
        MissingExtra: if music21 is not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise MissingExtra('tunes and chorales come from music21: pip install -e ".[dev]"')
    return Path(spec.origin).parent / "corpus"
