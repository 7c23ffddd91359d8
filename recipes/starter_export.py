"""Exports a trained starter into the package: ``python recipes/starter_export.py MODEL [CODEC]``.

Matrices of the language model become int8 with a scale per row, all other weights float16. CODEC is a folder with a
polished decoder for the same codes.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from descant.checkpoints.native import load_codec, load_model, save_model, starter_folder
from descant.checkpoints.prior_file import PRIOR
from descant.codec.spec import codec_spec
from descant.errors import CheckpointError
from descant.model import GenerationDefaults

DEFAULTS = GenerationDefaults(temperature=1.0, top_k=250, guidance=3.0, hold_penalty=2.0)


def export(trained: Path, polished: Path | None, target: Path) -> None:
    """Replaces the model in ``target``, keeping its model cards, its prior and the text encoder's measures.

    Raises:
        CheckpointError: the polished codec has other codes than the model's.
    """
    model = load_model(trained)
    model.config = replace(model.config, defaults=DEFAULTS)
    if polished is not None:
        # In float16, so that models which an earlier version stored in it can be exported too.
        half = load_codec(polished)[0].half().float()
        if codec_spec(half).fingerprint != codec_spec(load_codec(trained / "codec")[0].half().float()).fingerprint:
            raise CheckpointError(f"{polished}: its encoder or codebooks differ from those the model was trained with")
        model.codec, shape = load_codec(polished)
        model.config = replace(model.config, codec=shape)
    staging = target.with_name(f"{target.name}.new")
    save_model(model, staging, storage="int8")
    for kept in ("README.md", PRIOR, "text/README.md", "text/measures.json"):
        if (target / kept).exists():
            shutil.copy(target / kept, staging / kept)
    shutil.rmtree(target)
    staging.rename(target)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, starter_folder())
