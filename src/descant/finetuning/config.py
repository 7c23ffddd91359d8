"""The config of a fine-tuning run; ``recipes/finetune.py`` has its two forms."""

import re
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path

from descant.adapters import LoraConfig
from descant.conditioning.dropout import ConditionDropout
from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig
from descant.errors import ConfigError
from descant.training.anchor import AnchorConfig
from descant.training.lm import LMTaskConfig
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.trainer_config import TrainerConfig

MAX_TRIGGER_CHARACTERS = 40
MAX_SHIFT = 12
"""Semitones by which a copy of a clip may be higher or lower."""
TRIGGER = "TRIGGER"
"""In a prompt of ``ListeningConfig``: the trigger word."""


@dataclass(frozen=True, kw_only=True)
class ListeningConfig:
    """What is generated before, during and after the training, each time with the same seed.

    Args:
        prompts: ``TRIGGER`` in them is replaced. One without it is to sound the same every time.
        duration_s: at most that of the model.
    """

    prompts: tuple[str, ...] = (
        TRIGGER,
        f"{TRIGGER}, slow and calm",
        f"{TRIGGER}, fast and lively",
        "warm slow piano",
    )
    duration_s: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.duration_s > 0:
            raise ConfigError(f"duration_s={self.duration_s:g}: must be above 0")


@dataclass(frozen=True, kw_only=True)
class FineTuneRun:
    """One fine-tuning run.

    Args:
        folder: the music, as ``descant data scan`` reads it.
        model: the name, folder or hub id of the model to start from.
        trigger: a rare word for the music; None makes one from the folder's name.
        lora: the shape of the adapter that is trained; None trains all weights.
        valid_share: share of the clips that are held out, whole works at a time; at least one work is.
        varispeed: clips that are trained on are also there so many semitones higher and faster, or lower and slower.
        segment_s: length of the crops; None is the longest that the model was trained on.
        minutes: time for the training steps, from which their number follows; None trains ``trainer.max_steps``.
        num_validation_crops: the most crops of held-out music that are validated on.
        lr_width: the learning rate is that of a model of this width, and for others inversely proportional to theirs;
            None takes it as it is.
        max_batch_frames: a batch with more is divided into several whose gradients are averaged, to save memory.
        recompute: activations are computed again in the backward pass (``training/recompute.py``); None does so for
            language models of more than 100 million parameters.
        patience: the training ends after this many validations in a row that were not the best.
        batches: the crops' length follows from ``segment_s``.
    """

    folder: Path = Path("music")
    model: str = "starter"
    trigger: str | None = None
    lora: LoraConfig | None = field(default_factory=LoraConfig)
    valid_share: float = 0.15
    varispeed: tuple[float, ...] = (-1.0, 1.0)
    segment_s: float | None = None
    minutes: float | None = 20.0
    num_validation_crops: int = 16
    lr_width: int | None = 256
    max_batch_frames: int = 2_000
    recompute: bool | None = None
    patience: int = 4
    # Without a dropped caption: music that is learned without the trigger word changes the model for all prompts.
    task: LMTaskConfig = field(default_factory=lambda: LMTaskConfig(dropout=ConditionDropout(probability=0.0)))
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    batches: TokenBatchConfig = field(
        default_factory=lambda: TokenBatchConfig(batch_size=4, captions=CaptionConfig(word_dropout=0.2))
    )
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            max_steps=1_000,
            optimizer=AdamWConfig(lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1),
            schedule=PlateauLinear(warmup_steps=10, decay_fraction=0.6),
            ema_decay=None,
            precision="auto",
            validate_every=50,
            save_every=50,
        )
    )
    listening: ListeningConfig = ListeningConfig()

    def __post_init__(self) -> None:
        for name in ("segment_s", "minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value:g}: must be above 0, or none")
        for name in ("num_validation_crops", "max_batch_frames", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        if not 0 < self.valid_share < 1:
            raise ConfigError(f"valid_share={self.valid_share:g}: above 0 and below 1, so that some music is held out")
        if not all(0 < abs(shift) <= MAX_SHIFT for shift in self.varispeed) or len({*self.varispeed}) < len(
            self.varispeed
        ):
            raise ConfigError(
                f"varispeed={self.varispeed}: different numbers of semitones from -{MAX_SHIFT} to {MAX_SHIFT}, none of "
                f"them 0"
            )
        if self.trigger is not None and not self.trigger.strip():
            raise ConfigError(f"trigger={self.trigger!r}: give a rare word, such as 'mysongs'")
        if self.trigger is not None and len(self.trigger) > MAX_TRIGGER_CHARACTERS:
            raise ConfigError(f"trigger={self.trigger!r:.60}: at most {MAX_TRIGGER_CHARACTERS} characters")
        if self.trainer.validate_every is None:
            raise ConfigError("trainer.validate_every: the best step is found by validation, so it cannot be none")

    @property
    def trigger_word(self) -> str:
        """The trigger word, from the folder's name if none is given: ``my`` and its letters and digits."""
        return self.trigger.strip() if self.trigger is not None else trigger_from(self.folder.absolute().name)


def full_run() -> FineTuneRun:
    """The default run of all weights, at a lower learning rate than that of an adapter."""
    run = FineTuneRun(lora=None)
    optimizer = replace(run.trainer.optimizer, lr=3e-4)
    return replace(run, trainer=replace(run.trainer, optimizer=optimizer))


def trigger_from(name: str) -> str:
    """A rare word that a text encoder for English can read: ``mysongs`` for a folder ``Songs!``."""
    plain = unicodedata.normalize("NFKD", name).lower()
    return f"my{re.sub(r'[^a-z0-9]', '', plain)[:16] or 'music'}"
