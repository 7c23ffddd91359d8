"""What the pilots of the next starter share: twenty minutes of one thread each, on the corpus with forms.

Rows that ask what a trained model does continue the starter of the package; rows about the training begin anew with the
same shape. All are judged by crops of ten seconds: ``python -m starter_corpus study-data DATA --duration 10``.
"""

from dataclasses import replace

from descant import presets
from descant.conditioning.dropout import ConditionDropout
from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig
from descant.studies.ablation.run import AblationRun
from descant.training.lm import LMTaskConfig
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.trainer_config import TrainerConfig

CODEBOOK_WEIGHTS = (1.5, 1.2, 0.8, 0.5)


def fresh() -> AblationRun:
    """The starter's shape with fresh weights, trained as the starter was."""
    return AblationRun(
        model=replace(presets.starter(), melody=None, chords=None),
        batches=TokenBatchConfig(
            batch_size=4,
            segment_frames=500,
            short_frames=125,
            captions=CaptionConfig(
                merge_probability=0.35,
                word_dropout=0.1,
                fields=("key", "bpm", "genre", "style", "moods", "instrument", "metre"),
            ),
        ),
        task=LMTaskConfig(
            dropout=ConditionDropout(probability=0.15), history_dropout=0.4, codebook_weights=CODEBOOK_WEIGHTS
        ),
        trainer=TrainerConfig(
            max_steps=480,
            optimizer=AdamWConfig(lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.1),
            schedule=PlateauLinear(warmup_steps=50, decay_fraction=0.5),
            ema_decay=None,
            log_every=20,
            save_every=40,
            keep_last=1,
            validate_every=None,
        ),
    )


def continued() -> AblationRun:
    """The starter of the package, trained on at a third of its rate; its conditioners for melodies and chords rest."""
    run = fresh()
    return replace(
        run,
        model=presets.starter(),
        starts_from_starter=True,
        task=replace(run.task, dropout=ConditionDropout(probability=0.15, melody=1.0, chords=1.0)),
        trainer=replace(run.trainer, optimizer=replace(run.trainer.optimizer, lr=5e-4)),
    )
