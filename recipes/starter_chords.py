"""The starter learns to follow chords, and tempo and key that its prompt does not state.

Starts from the model of ``recipes/starter_melody.py`` and is trained on the corpus with forms, whose pieces know their
chords. Most crops are given the tempo and the key of their piece as numbers, and their chords: in use, what a prompt
leaves open is chosen for it. Melodies are given less often, so that they are not forgotten.
"""

from dataclasses import replace
from pathlib import Path

from starter_lm import LMRun, train

from descant import presets
from descant.conditioning.dropout import ConditionDropout
from descant.training.optim import AdamWConfig, PlateauLinear


def config() -> LMRun:
    """The third of the shipped starter's four runs; the fourth is longer, on the codes of another codec."""
    run = LMRun(start=Path("runs/starter_melody/model"), model=presets.starter())
    return replace(
        run,
        batches=replace(run.batches, tempo_key_probability=0.7),
        task=replace(
            run.task,
            dropout=ConditionDropout(probability=0.12, melody=0.6, chords=0.3),
            history_dropout=0.5,
        ),
        trainer=replace(
            run.trainer,
            max_steps=3_000,
            optimizer=AdamWConfig(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1),
            schedule=PlateauLinear(warmup_steps=50, decay_fraction=0.7),
            validate_every=500,
        ),
    )


__all__ = ["config", "train"]
