"""One row of an ablation: everything that determines its training, and how the result is judged."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from descant.config import to_dict
from descant.data.token_dataset import TokenBatchConfig
from descant.errors import ConfigError
from descant.model import MusicGenConfig
from descant.training.lm import LMTaskConfig
from descant.training.trainer_config import RESUMABLE, TrainerConfig

Condition = Literal["text", "melody"]


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How a trained model is judged.

    Args:
        conditions: what it is given of a held-out crop, in prediction and in generation.
        batch_size: requests that are decoded at a time.
    """

    conditions: tuple[Condition, ...] = ("text",)
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.conditions not in ((), ("text",), ("text", "melody")):
            raise ConfigError(f"conditions={self.conditions}: one of (), ('text',) and ('text', 'melody')")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class AblationRun:
    """One row.

    Args:
        model: its codec is replaced by that of the data.
        task: codebooks whose weight is 0 are not this model's: it does not draw them, and they are no part of its
            cross-entropy.
        starts_from_codebooks: the embeddings begin with the geometry of the codec's codebooks
            (``lm/init.py``), which shortens the training of small models.
        starts_from_starter: all weights are those of the starter in the package, whose shape and codes the row has to
            have. What needs a trained model to be seen, such as held notes, is then seen after minutes.
        fine: a second model, which draws the codebooks that this one leaves out, given those that it draws.
    """

    model: MusicGenConfig
    batches: TokenBatchConfig
    task: LMTaskConfig
    trainer: TrainerConfig
    starts_from_codebooks: bool = True
    starts_from_starter: bool = False
    fine: "AblationRun | None" = None
    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        if self.fine is not None and self.fine.fine is not None:
            raise ConfigError("fine.fine: a cascade has two models")
        if self.fine is not None:
            drawn = sorted(self.codebooks + self.fine.codebooks)
            if drawn != list(range(self.model.lm.num_codebooks)):
                raise ConfigError(f"task.codebook_weights: both models together draw codebooks {drawn}, not each once")

    @property
    def codebooks(self) -> tuple[int, ...]:
        """The codebooks that this model draws."""
        weights = self.task.codebook_weights or (1.0,) * self.model.lm.num_codebooks
        return tuple(index for index, weight in enumerate(weights) if weight > 0)

    @property
    def stages(self) -> tuple["AblationRun", ...]:
        """The models of the row, each as a run of its own."""
        return (replace(self, fine=None),) if self.fine is None else (replace(self, fine=None), self.fine)

    @property
    def num_frames(self) -> int:
        """The length of the crops that it is trained and judged on."""
        return self.batches.segment_frames

    @property
    def positions_per_update(self) -> int:
        """Steps of the pattern that an update reads, over all rows: what the compute of a model is proportional to."""
        rows = self.batches.batch_size * self.trainer.accumulate
        return rows * self.model.pattern.training_length(self.num_frames)


def seeded(run: AblationRun, seed: int) -> AblationRun:
    """The run with this seed, for the initial weights, the batches and the dropout."""
    return replace(
        run,
        batches=replace(run.batches, seed=seed),
        trainer=replace(run.trainer, seed=seed),
        fine=None if run.fine is None else seeded(run.fine, seed),
    )


def training_id(stage: AblationRun, data: dict[str, Any]) -> str:
    """Twelve digits that equal trainings on the same data share, whatever study they belong to."""
    method = to_dict(replace(stage, judging=Judging()))
    method["trainer"] = {key: value for key, value in method["trainer"].items() if f"trainer.{key}" not in RESUMABLE}
    method["trainer"]["max_steps"] = stage.trainer.max_steps
    if not stage.starts_from_starter:
        # Rows that were trained before there was such a start keep their digits.
        del method["starts_from_starter"]
    return _digits({"method": method, "data": data})


def judging_id(run: AblationRun, data: dict[str, Any]) -> str:
    """Twelve digits that runs share whose measures are the same."""
    trainings = [training_id(stage, data) for stage in run.stages]
    return _digits({"trainings": trainings, "judging": to_dict(run.judging)})


def _digits(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
