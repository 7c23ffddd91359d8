"""Training a language model on codes and captions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.conditioning.base import Embedding
from descant.conditioning.dropout import ConditionDropout
from descant.conditioning.fuser import fuse
from descant.config import to_dict
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError
from descant.lm.loss import pattern_cross_entropy
from descant.model import MusicGenModel
from descant.nn.inputs import LMInputs
from descant.patterns import interleave
from descant.shapes import Codes, Logits
from descant.training.task import Metrics, StepContext, Task


@dataclass(frozen=True, kw_only=True)
class LMTaskConfig:
    """What the language model's loss counts and how often it goes without conditions.

    Args:
        codebook_weights: how much the cross-entropy of each codebook counts; only ratios matter. None is all alike.
    """

    dropout: ConditionDropout = field(default_factory=ConditionDropout)
    codebook_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        weights = self.codebook_weights
        if weights is not None and (min(weights, default=0) < 0 or sum(weights) <= 0):
            raise ConfigError(f"codebook_weights={weights}: give one for each codebook, 0 or more, not all 0")


class LMTask(Task):
    """The language model and the text conditioner of a model; its codec and its text encoder stay as they are.

    A melody or style model is trained on text alone here: it is told the null condition, whose conditioner stays too.

    Args:
        validation: batches that every validation reads; the same for all runs to be compared.
    """

    def __init__(self, model: MusicGenModel, config: LMTaskConfig, validation: Sequence[TokenBatch] = ()) -> None:
        weights = config.codebook_weights
        if weights is not None and len(weights) != model.lm.config.num_codebooks:
            raise ConfigError(f"codebook_weights={weights}: this model has {model.lm.config.num_codebooks} codebooks")
        self.config = config
        self.lm, self.text = model.lm, model.text
        self.nothing_heard = model.nothing_heard
        self.text_encoder = model.text_encoder
        self.pattern, self.fuser = model.config.pattern, model.fuser
        self.frame_rate_hz = model.codec.frame_rate_hz
        self.model = self.trained = nn.ModuleDict({"lm": model.lm, "text": model.text})
        self.validation = validation
        self.device = model.device

    def to(self, device: torch.device) -> None:
        self.trained.to(device)
        self.text_encoder = self.text_encoder.to(device)
        self.device = device

    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        return {"lm": {name: value for name, value in self.trained.named_parameters() if value.requires_grad}}

    def loss(self, turn: str, batch: TokenBatch, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """Cross-entropy in nats: of all codes (``ce``) and of each codebook's (``ce_q0``, ...)."""
        assert turn == "lm", "a language model has one turn"
        read = {"text": self.text_encoder.encode(batch.captions).to(self.device)}
        heard = self.config.dropout(read, context.generator)
        inputs = self._inputs(heard["text"])
        codes, mask = batch.codes.to(self.device), batch.frame_mask.to(self.device)
        weights = self.config.codebook_weights
        loss, by_codebook = pattern_cross_entropy(
            self._logits(codes, mask, inputs),
            codes,
            self.pattern,
            mask,
            None if weights is None else torch.tensor(weights, device=self.device),
        )
        return loss, {
            "ce": by_codebook.mean(),
            **{f"ce_q{index}": value for index, value in enumerate(by_codebook)},
            "audio_s": float(batch.frame_mask.sum()) / self.frame_rate_hz,
        }

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Cross-entropy on the validation clips, and what their captions are worth.

        ``caption_gain`` is how much worse the same clips are predicted with another clip's caption, the mean of the
        paired differences in nats, with its 95 % interval. Clips without a caption have no part in it.
        """
        captions = [caption for batch in self.validation for caption in batch.captions]
        if not captions:
            return {}
        own = self._by_clip(captions)
        metrics = {"ce": float(own.mean())}
        metrics |= {f"ce_q{index}": float(value) for index, value in enumerate(own.mean(dim=0))}
        others = [other_caption(captions, index) for index in range(len(captions))]
        paired = torch.tensor([other is not None for other in others])
        if paired.sum() > 1:
            metrics |= _gain((self._by_clip(others) - own).mean(dim=1)[paired])
        return metrics

    def facts(self) -> dict[str, Any]:
        return {"lm_task": to_dict(self.config), "lm": to_dict(self.lm.config), "pattern": repr(self.pattern)}

    def _by_clip(self, captions: list[str | None]) -> Float[Tensor, "clips K"]:
        """Cross-entropies of the validation clips, were these their captions."""
        rows, left = [], iter(captions)
        for batch in self.validation:
            codes, mask = batch.codes.to(self.device), batch.frame_mask.to(self.device)
            texts = [next(left) for _ in range(len(codes))]
            inputs = self._inputs(self.text_encoder.encode(texts).to(self.device))
            logits = self._logits(codes, mask, inputs)
            for clip in zip(logits.split(1), codes.split(1), mask.split(1), strict=True):
                rows.append(pattern_cross_entropy(clip[0], clip[1], self.pattern, clip[2])[1])
        return torch.stack(rows).cpu()

    def _inputs(self, text: Embedding) -> LMInputs:
        nothing = {name: null.to(self.device) for name, null in self.nothing_heard(len(text.mask)).items()}
        return fuse({**self.text(text), **nothing}, self.fuser)

    def _logits(self, codes: Codes, mask: Bool[Tensor, "B T"], inputs: LMInputs) -> Logits:
        # A frame after the clip's end holds nothing, as it will in generation; its zeros are no codes.
        known = codes.masked_fill(~rearrange(mask, "B T -> B 1 T"), self.lm.special_code)
        num_frames = codes.shape[-1]
        length = self.pattern.training_length(num_frames)
        sequence = interleave(known, self.pattern.steps(num_frames), length, empty=self.lm.special_code)
        logits: Logits = self.lm(sequence, inputs)
        return logits


def other_caption(captions: Sequence[str | None], index: int) -> str | None:
    """Another clip's caption that differs from this one's, looked for from half a list away; None if there is none.

    Half a list, because neighbours are often pieces of one song.
    """
    if captions[index] is None:
        return None
    start = index + len(captions) // 2
    around = [captions[(start + offset) % len(captions)] for offset in range(len(captions))]
    return next((caption for caption in around if caption not in (None, captions[index])), None)


def _gain(differences: Float[Tensor, " clips"]) -> dict[str, float]:
    mean = float(differences.mean())
    margin = 1.96 * float(differences.std()) / math.sqrt(len(differences))
    return {"caption_gain": mean, "caption_gain_low": mean - margin, "caption_gain_high": mean + margin}
