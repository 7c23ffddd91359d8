"""The starter learns to follow melodies, starting from the language model of ``recipes/starter_lm.py``.

Also needs the melodies of the codes (``descant data melodies``). More of the history is hidden than in the first run:
a model that sees its history can infer the melody from it and hardly learns to use the condition.
"""

from dataclasses import replace
from pathlib import Path

from starter_lm import LMRun, train

from descant import presets
from descant.conditioning.dropout import ConditionDropout
from descant.training.optim import AdamWConfig, PlateauLinear


def config() -> LMRun:
    """The second of the shipped starter's four runs."""
    run = LMRun(start=Path("runs/starter_lm/model"), model=replace(presets.starter(), chords=None))
    return replace(
        run,
        task=replace(run.task, dropout=ConditionDropout(probability=0.15, melody=0.2), history_dropout=0.7),
        trainer=replace(
            run.trainer,
            max_steps=3_900,
            optimizer=AdamWConfig(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1),
            schedule=PlateauLinear(warmup_steps=50, decay_fraction=0.8),
            validate_every=500,
        ),
    )


__all__ = ["config", "train"]
