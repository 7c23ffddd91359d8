"""A model's prior over tempo and key as a file of its folder."""

import json
from pathlib import Path

from descant import config as configs
from descant.checkpoints.config_files import config_errors_of, read_json
from descant.conditioning.tempo_key_prior import TempoKeyPrior

PRIOR = "prior.json"


def read_prior(folder: Path) -> TempoKeyPrior | None:
    """The prior in a model's folder; None if it has none.

    Raises:
        CheckpointError: the file is not one that ``write_prior`` wrote.
    """
    file = folder / PRIOR
    if not file.exists():
        return None
    with config_errors_of(file):
        return configs.from_dict(TempoKeyPrior, read_json(file))


def write_prior(prior: TempoKeyPrior, folder: Path) -> None:
    """Writes a prior for ``read_prior``, with one line for each word."""
    plain = configs.to_dict(prior)
    words = ",\n".join(f"{json.dumps(word)}: {json.dumps(weights)}" for word, weights in plain.pop("words").items())
    tables = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in plain.items())
    (folder / PRIOR).write_text(f'{{\n{tables},\n"words": {{\n{words}\n}}\n}}\n', encoding="utf-8")
