"""What the rows of all ablations share: a small language model on crops of six seconds, trained for some minutes.

Four layers 192 wide over the starter's codec (4 codebooks of 1,024 entries, 50 frames a second) and its frozen text
encoder, 240 updates of 8 crops on ten hours of the starter's corpus. For another size change the fields of the run, or
give ``--set`` to ``descant study``.
"""

from dataclasses import replace

from descant import presets
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.dropout import ConditionDropout
from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig
from descant.patterns import AnyPattern
from descant.studies.ablation.run import AblationRun, Judging
from descant.training.lm import LMTaskConfig
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.trainer_config import TrainerConfig

NUM_FRAMES = 300
HIDDEN_HISTORY = 0.5
"""Without hidden history models of this size do not learn to use their conditions (``LMTaskConfig``)."""


def small() -> AblationRun:
    """The delay pattern with text: the baseline."""
    starter = presets.starter()
    transformer = replace(starter.lm.transformer, width=192, num_heads=4, num_layers=4)
    return AblationRun(
        model=replace(
            starter,
            lm=replace(starter.lm, transformer=transformer),
            melody=None,
            chords=None,
            max_duration_s=6.0,
        ),
        batches=TokenBatchConfig(
            batch_size=8,
            segment_frames=NUM_FRAMES,
            max_hours=10.0,
            captions=CaptionConfig(
                merge_probability=0.25,
                word_dropout=0.0,
                fields=("key", "bpm", "genre", "style", "moods", "instrument", "metre"),
            ),
        ),
        task=LMTaskConfig(dropout=ConditionDropout(probability=0.15)),
        trainer=TrainerConfig(
            max_steps=240,
            optimizer=AdamWConfig(lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1),
            schedule=PlateauLinear(warmup_steps=50, decay_fraction=0.6),
            ema_decay=None,
            log_every=25,
            save_every=60,
            keep_last=1,
            validate_every=None,
        ),
    )


def small_hidden() -> AblationRun:
    """The baseline where conditions matter: half of the crops lose a stretch of their history."""
    run = small()
    return replace(run, task=replace(run.task, history_dropout=HIDDEN_HISTORY))


def with_pattern(run: AblationRun, pattern: AnyPattern) -> AblationRun:
    """The run with another codebook pattern, on the same crops in the same order."""
    return replace(run, model=replace(run.model, pattern=pattern))


def at_equal_compute(run: AblationRun) -> AblationRun:
    """The run with as many crops in an update as read no more positions than ``small`` does."""
    limit = small().positions_per_update
    length = run.model.pattern.training_length(run.num_frames)
    return replace(run, batches=replace(run.batches, batch_size=limit // length))


def with_size(run: AblationRun, width: int, num_heads: int, num_layers: int) -> AblationRun:
    """The run with another size of the transformer."""
    transformer = replace(run.model.lm.transformer, width=width, num_heads=num_heads, num_layers=num_layers)
    return replace(run, model=replace(run.model, lm=replace(run.model.lm, transformer=transformer)))


def with_melody(run: AblationRun, melody: MelodyConfig) -> AblationRun:
    """The run with a melody condition, dropped in a fifth of the crops, and given when the row is judged."""
    dropout = replace(run.task.dropout, melody=0.2)
    return replace(
        run,
        model=replace(run.model, melody=melody),
        task=replace(run.task, dropout=dropout),
        judging=Judging(conditions=("text", "melody")),
    )


def melody_config() -> MelodyConfig:
    """The starter's melody condition with the paper's bottleneck: the loudest pitch class of each frame."""
    starter = presets.starter().melody
    assert starter is not None
    return replace(starter, bottleneck="argmax", strongest=1)
