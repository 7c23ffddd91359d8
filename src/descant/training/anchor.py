"""Fine-tuning that keeps what a model knew, without any of the music that it was trained on.

Some rows of every batch have a prompt without the trigger word, or none, instead of their caption. There the model is
not to predict the music but to predict as it did before: the loss is the divergence from the original model.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.config import to_dict
from descant.data.token_dataset import TokenBatch
from descant.data.trigger import rows_of, with_captions
from descant.errors import ConfigError
from descant.lm.loss import pattern_divergence
from descant.training.lm import LMTask
from descant.training.task import Metrics, StepContext, Task

PROMPTS = (
    "warm slow piano",
    "driving rock with electric guitar, 140 bpm",
    "calm acoustic guitar",
    "happy folk tune with violin",
    "jazz trio with upright bass and brushed drums",
    "sad strings in A minor",
    "bossa nova, 120 bpm",
    "waltz for piano and flute",
    "electronic dance music with synth bass",
    "orchestral fanfare with brass",
    "lively accordion polka",
    "slow solemn choir",
    "funk with slap bass and clavinet",
    "ambient synth pad",
    "blues in E with harmonica",
    "baroque church organ",
    "lo-fi hip hop beat, relaxed",
    "heavy metal with distorted guitars",
    "country song with banjo and fiddle",
    "marimba and percussion, tropical",
    "romantic harp and oboe",
    "techno, 130 bpm",
    "reggae with organ and bass",
    "solo cello, melancholic",
)
"""Prompts from all over music, for which a tuned model is to sound as before."""


@dataclass(frozen=True, kw_only=True)
class AnchorConfig:
    """Which rows are compared with the original model, and how much they count.

    Args:
        share: of the rows; 0 turns the comparison off.
        weight: of the divergence beside the cross-entropy; both are in nats.
        no_prompt: share of these rows without a prompt, as guidance needs the model without one too.
        prompts: the others' prompts.
    """

    share: float = 0.25
    weight: float = 1.0
    no_prompt: float = 0.3
    prompts: tuple[str, ...] = PROMPTS

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"share={self.share:g}: at least 0, and below 1, since music must be learned too")
        if not self.weight >= 0:
            raise ConfigError(f"weight={self.weight:g}: must be 0 or more")
        if not 0 <= self.no_prompt <= 1:
            raise ConfigError(f"no_prompt={self.no_prompt:g}: a probability is between 0 and 1")
        if not self.prompts and self.no_prompt < 1:
            raise ConfigError("prompts=(): give at least one, or set no_prompt to 1")

    def num_rows(self, batch: int, generator: torch.Generator) -> int:
        """How many of ``batch`` rows are compared: the share of them, or drawn so that their mean is the share."""
        return int(batch * self.share + float(torch.rand((), generator=generator)))

    def caption(self, generator: random.Random) -> str | None:
        """A prompt without the trigger word, or None."""
        is_empty = generator.random() < self.no_prompt
        return None if is_empty else generator.choice(self.prompts)


class AnchoredTask(Task):
    """Trains as another task does, and keeps its model close to the original one for prompts without the trigger word.

    Args:
        tuned: what is trained, on batches with the trigger word; also what is validated.
        original: over the model as it was; it shares no parameter that ``tuned`` trains, and is never trained.
    """

    def __init__(self, tuned: LMTask, original: LMTask, config: AnchorConfig) -> None:
        self.tuned, self.original, self.config = tuned, original, config
        self.model, self.trained, self.criterion = tuned.model, tuned.trained, tuned.criterion

    def to(self, device: torch.device) -> None:
        self.original.to(device)
        self.tuned.to(device)

    def recompute(self) -> None:
        self.tuned.recompute()

    def compile(self) -> None:
        self.original.compile()
        self.tuned.compile()

    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        return self.tuned.parameters()

    def loss(self, phase: str, batch: TokenBatch, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """The cross-entropy of most rows (``ce`` and the others of ``LMTask``) and the ``divergence`` of the rest."""
        count = self.config.num_rows(len(batch.clips), context.generator)
        prompts = random.Random(int(torch.randint(2**31, (), generator=context.generator)))
        learned, compared = rows_of(batch, slice(count, None)), rows_of(batch, slice(count))
        loss, metrics = self.tuned.loss(phase, learned, context) if learned.clips else (torch.tensor(0.0), {})
        # By rows, so that a batch that is cut into parts has the same mean.
        share, total = self.config.share, len(batch.clips)
        loss = loss * (len(learned.clips) / (total * (1 - share)))
        if not compared.clips:
            return loss, metrics
        divergence = self._divergence(compared, prompts)
        weight = self.config.weight * len(compared.clips) / (total * share)
        return loss + weight * divergence, {**metrics, "divergence": divergence.detach()}

    def validate(self) -> dict[str, float]:
        """As the other task does; and the ``divergence`` on the same clips with prompts without the trigger word."""
        metrics = self.tuned.validate()
        batches = self.tuned.validation
        if metrics and self.config.share > 0:
            generator = random.Random("anchor/validation")
            metrics["divergence"] = sum(float(self._divergence(batch, generator)) for batch in batches) / len(batches)
        return metrics

    def identity(self) -> dict[str, Any]:
        return {**self.tuned.identity(), "anchor": to_dict(self.config)}

    def _divergence(self, batch: TokenBatch, generator: random.Random) -> Float[Tensor, ""]:
        prompted = with_captions(batch, [self.config.caption(generator) for _ in batch.clips])
        with torch.no_grad():
            before = self.original.logits(prompted)
        now = self.tuned.logits(prompted)
        codes, mask = prompted.codes.to(now.device), prompted.frame_mask.to(now.device)
        return pattern_divergence(now, before, codes, self.tuned.pattern, mask)
