"""A model's prior over tempo, key, metre and chords as a file of its folder.

The tables of tempo, key and metre are its entries; those of the chords are in the entry ``chords``, which files of
earlier versions do not have.
"""

import json
from pathlib import Path
from typing import Any

from descant import config as configs
from descant.checkpoints.config_files import config_errors_of, read_json
from descant.conditioning.chord_prior import ChordPrior
from descant.conditioning.prior import Prior
from descant.conditioning.tempo_key_prior import TempoKeyPrior

PRIOR = "prior.json"
_CHORDS = "chords"


def read_prior(folder: Path) -> Prior | None:
    """The prior in a model's folder; None if it has none.

    Raises:
        CheckpointError: the file is not one that ``write_prior`` wrote.
    """
    file = folder / PRIOR
    if not file.exists():
        return None
    with config_errors_of(file):
        tables = read_json(file)
        tempo_key = {name: table for name, table in tables.items() if name != _CHORDS}
        return Prior(
            tempo_key=configs.from_dict(TempoKeyPrior, tempo_key),
            chords=configs.from_dict(ChordPrior, tables[_CHORDS], _CHORDS) if _CHORDS in tables else None,
        )


def write_prior(prior: Prior, folder: Path) -> None:
    """Writes a prior for ``read_prior``, with one line for each word and phrase."""
    tables = configs.to_dict(prior.tempo_key)
    if prior.chords is not None:
        tables[_CHORDS] = configs.to_dict(prior.chords)
    (folder / PRIOR).write_text(f"{_in_lines(tables)}\n", encoding="utf-8")


def _in_lines(value: Any) -> str:
    """JSON with one line for each entry of an object."""
    if not isinstance(value, dict):
        return json.dumps(value)
    entries = ",\n".join(f"{json.dumps(name)}: {_in_lines(item)}" for name, item in value.items())
    return f"{{\n{entries}\n}}"
