"""Puts a trained starter where the package ships it: ``python recipes/starter_export.py runs/starter_lm/model``.

Matrices of the language model become 8-bit numbers with a scale per row, the rest of the weights float16; the sampling
defaults are those that the grid of the model card found best.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from descant.checkpoints.native import load_model, save_model, starter_folder
from descant.model import GenerationDefaults

DEFAULTS = GenerationDefaults(temperature=1.0, top_k=100, guidance=3.0)


def export(trained: Path, target: Path) -> None:
    """Replaces the model in ``target``, keeping its model card and the measures of its text encoder."""
    model = load_model(trained)
    model.config = replace(model.config, defaults=DEFAULTS)
    staging = target.with_name(f"{target.name}.new")
    save_model(model, staging, storage="int8")
    for kept in ("README.md", "text/measures.json"):
        if (target / kept).exists():
            shutil.copy(target / kept, staging / kept)
    shutil.rmtree(target)
    staging.rename(target)


if __name__ == "__main__":
    export(Path(sys.argv[1]), starter_folder())
