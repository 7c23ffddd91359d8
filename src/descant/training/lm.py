"""Training a language model on codes and captions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.conditioning.dropout import ConditionDropout
from descant.config import to_dict
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError
from descant.lm.loss import pattern_cross_entropy
from descant.model import MusicGenModel, PreparedConditions
from descant.nn.inputs import LMInputs
from descant.patterns import interleave
from descant.shapes import Codes, Logits
from descant.training.compile import compile_blocks
from descant.training.logs import say
from descant.training.long_captions import CaptionCutter
from descant.training.recompute import recompute_blocks
from descant.training.style import StyleExcerpts
from descant.training.task import Metrics, StepContext, Task


@dataclass(frozen=True, kw_only=True)
class LMTaskConfig:
    """The loss of the language model, and how often it is trained without conditions.

    Args:
        history_dropout: the probability that a clip loses a stretch of its past: half of the time everything up to a
            random frame, else from one random frame to another. There the next code must be predicted from the
            conditions and from more distant frames. Otherwise the frame before explains nearly all of the loss, and a
            small model learns to repeat it and never learns to follow its caption.
        codebook_weights: the weight of each codebook's cross-entropy; only ratios matter. None is equal weights.
    """

    dropout: ConditionDropout = field(default_factory=ConditionDropout)
    history_dropout: float = 0.0
    codebook_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.history_dropout <= 1:
            raise ConfigError(f"history_dropout={self.history_dropout:g}: a probability is between 0 and 1")
        weights = self.codebook_weights
        if weights is not None and (min(weights, default=0) < 0 or sum(weights) <= 0):
            raise ConfigError(f"codebook_weights={weights}: give one for each codebook, 0 or more, not all 0")


class LMTask(Task):
    """Trains the language model of a model and its conditioners, not the codec and the frozen encoders.

    A row without one of the conditions is trained as if it had been dropped. A model with a joint space learns from the
    audio of its clips, also without captions; its codebooks should have been started (``ClapConditioner.start``).

    Args:
        validation: batches that every validation reads; the same for all runs to be compared.
        training_sample: training clips that are predicted in the same way, without dropout, to tell learning by heart.

    Captions that are too long for the text encoder are cut, with a note; ``captions.name_long_ones`` lists their clips
    before the run.
    """

    criterion = "ce"

    def __init__(
        self,
        model: MusicGenModel,
        config: LMTaskConfig,
        validation: Sequence[TokenBatch] = (),
        training_sample: Sequence[TokenBatch] = (),
    ) -> None:
        weights = config.codebook_weights
        if weights is not None and len(weights) != model.lm.config.num_codebooks:
            raise ConfigError(f"codebook_weights={weights}: this model has {model.lm.config.num_codebooks} codebooks")
        self.config = config
        self.musicgen, self.lm, self.pattern = model, model.lm, model.config.pattern
        self.conditioners = {part.name: part for part in model.conditioners if part.is_trainable}
        # ``model`` of a Task is only the part that is trained: neither the codec nor the frozen encoders.
        self.model = self.trained = nn.ModuleDict({"lm": model.lm, **self.conditioners})
        self.validation, self.training_sample = validation, training_sample
        style = model.style
        self._styled: list[tuple[Sequence[TokenBatch], list[tuple[TokenBatch, Tensor]]]] = []
        self.styles = None if style is None or style.encoder is None else StyleExcerpts(model.codec, style)
        self.captions = CaptionCutter(model.text_limits(), note=say)

    def to(self, device: torch.device) -> None:
        self.musicgen.to_device(device)

    def recompute(self) -> None:
        recompute_blocks(self.lm)

    def compile(self) -> None:
        compile_blocks(self.lm)

    def units(self) -> Sequence[nn.Module]:
        return (*self.lm.blocks, self.lm)

    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        return {"lm": {name: value for name, value in self.trained.named_parameters() if value.requires_grad}}

    def loss(self, phase: str, batch: TokenBatch, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """Cross-entropy in nats: of all codes (``ce``) and of each codebook's (``ce_q0``, ...)."""
        assert phase == "lm", "a language model has one phase"
        drop = self.config.dropout.rows(len(batch.conditions), context.generator)
        counted = batch.frame_mask
        if self.styles is not None:
            batch, counted = self.styles.drawn(batch, context.generator)
            # Where the style is dropped there is nothing to copy from.
            counted = torch.where(drop["style"][:, None], batch.frame_mask, counted)
        prepared, style = batch.prepared, self.musicgen.style
        if prepared is not None and style is not None:
            # Styles were drawn above, so they cannot have been prepared ahead.
            prepared = {**prepared, style.name: style.prepare(batch.conditions)}
        inputs = self._inputs(batch, batch.captions, drop, prepared)
        device = self.musicgen.device
        codes, mask = batch.codes.to(device), batch.frame_mask.to(device)
        weights = self.config.codebook_weights
        forgotten = stretches(mask, self.config.history_dropout, context.generator)
        loss, by_codebook = pattern_cross_entropy(
            self._logits(codes, mask & ~forgotten, inputs),
            codes,
            self.pattern,
            counted.to(device),
            None if weights is None else torch.tensor(weights, device=device),
        )
        return loss, {
            "ce": by_codebook.mean(),
            **{f"ce_q{index}": value for index, value in enumerate(by_codebook)},
            "audio_s": float(batch.frame_mask.sum()) / self.musicgen.codec.frame_rate_hz,
        }

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Cross-entropy on the validation clips, given their captions alone, and the gain from each condition.

        ``caption_gain`` is how much worse the same clips are predicted with another clip's caption: the mean of the
        paired differences in nats, with its 95 % interval. Clips without a caption are not counted. ``melody_gain`` is
        how much better they are predicted with their own melody too, ``clap_gain`` with their own audio's embedding and
        ``style_gain`` with the style of their middle, whose frames never count here. ``train_ce`` is the cross-entropy
        on the training sample, measured in the same way.
        """
        captions = [caption for batch in self.validation for caption in batch.captions]
        if not captions:
            return {}
        own = self.cross_entropies(captions)
        metrics = _by_codebook("ce", own)
        if self.training_sample:
            known = [caption for batch in self.training_sample for caption in batch.captions]
            metrics |= _by_codebook("train_ce", self.cross_entropies(known, of=self.training_sample))
        others = [other_caption(captions, index) for index in range(len(captions))]
        paired = torch.tensor([other is not None for other in others])
        if paired.sum() > 1:
            metrics |= _gain("caption_gain", (self.cross_entropies(others) - own).mean(dim=1)[paired])
        for name in sorted(self._conditions() - {"text"}):
            if len(captions) > 1 and self._counted(self.validation)[0][0].conditions[0].get(name) is not None:
                with_condition = self.cross_entropies(captions, name)
                metrics |= {f"ce_{name}": float(with_condition.mean())}
                metrics |= _gain(f"{name}_gain", (own - with_condition).mean(dim=1))
        return metrics

    def identity(self) -> dict[str, Any]:
        return {
            "lm_task": to_dict(self.config),
            "conditions": {name: to_dict(conditioner.config) for name, conditioner in self.conditioners.items()},
            "lm": to_dict(self.lm.config),
            "pattern": repr(self.pattern),
        }

    def _conditions(self) -> set[str]:
        return {conditioner.condition for conditioner in self.conditioners.values()}

    def _counted(self, batches: Sequence[TokenBatch]) -> list[tuple[TokenBatch, Bool[Tensor, "B T"]]]:
        """Fixed batches, and which of their frames count; styles are computed once, as they do not change."""
        if self.styles is None:
            return [(batch, batch.frame_mask) for batch in batches]
        for known, styled in self._styled:
            if known is batches:
                return styled
        self._styled.append((batches, [self.styles.in_the_middle(batch) for batch in batches]))
        return self._styled[-1][1]

    @torch.no_grad()
    def cross_entropies(
        self, captions: list[str | None], also: str | None = None, of: Sequence[TokenBatch] | None = None
    ) -> Float[Tensor, "clips K"]:
        """Of each clip and codebook in nats, with these captions and, if named, the clip's own other condition.

        Args:
            of: the batches of the clips; None for those of the validation.
        """
        found, left = [], iter(captions)
        for batch, counted in self._counted(self.validation if of is None else of):
            codes, mask = batch.codes.to(self.musicgen.device), batch.frame_mask.to(self.musicgen.device)
            texts = [next(left) for _ in range(len(codes))]
            dropped = self._conditions() - {"text", also}
            inputs = self._inputs(batch, texts, {name: torch.ones(len(codes), dtype=torch.bool) for name in dropped})
            logits = self._logits(codes, mask, inputs)
            for clip in zip(logits.split(1), codes.split(1), counted.to(mask.device).split(1), strict=True):
                found.append(pattern_cross_entropy(clip[0], clip[1], self.pattern, clip[2])[1])
        return torch.stack(found).cpu()

    def logits(self, batch: TokenBatch) -> Logits:
        """The predictions for the clips of a batch, given their captions and no other condition."""
        device = self.musicgen.device
        dropped = {name: torch.ones(len(batch.clips), dtype=torch.bool) for name in self._conditions() - {"text"}}
        inputs = self._inputs(batch, batch.captions, dropped)
        return self._logits(batch.codes.to(device), batch.frame_mask.to(device), inputs)

    def prepare_ahead(self, batches: Sequence[TokenBatch]) -> list[TokenBatch]:
        """The batches with their conditions prepared, each with the same bits whatever the other batches are."""
        rows = [self._rows(batch, batch.captions) for batch in batches]
        if self.musicgen.text in self.musicgen.conditioners:
            self.musicgen.text.prepare([row for of_batch in rows for row in of_batch])
        return [replace(batch, prepared=self.musicgen.prepare(own)) for batch, own in zip(batches, rows, strict=True)]

    def _rows(self, batch: TokenBatch, texts: list[str | None]) -> list[dict[str, Any]]:
        """The conditions of a batch with these captions, as far as the text encoder reads them."""
        captions = self.captions.cut(texts, batch.clips)
        return [{**row, "text": text} for row, text in zip(batch.conditions, captions, strict=True)]

    def _inputs(
        self,
        batch: TokenBatch,
        texts: list[str | None],
        drop: Mapping[str, Bool[Tensor, " B"]],
        prepared: PreparedConditions | None = None,
    ) -> LMInputs:
        """The inputs of a batch with these captions. A condition that a row does not have is dropped there too."""
        rows = self._rows(batch, texts)
        if prepared is None:
            prepared = self.musicgen.prepare(rows)
        dropped = {
            name: torch.tensor([row.get(name) is None for row in rows]) | drop.get(name, torch.tensor(False))
            for name in self._conditions()
        }
        span = self.musicgen.span(batch.codes.shape[-1], first_beats=batch.first_beats)
        return self.musicgen.inputs(prepared, span, dropped)

    def _logits(self, codes: Codes, known_frames: Bool[Tensor, "B T"], inputs: LMInputs) -> Logits:
        # A frame after the clip's end is empty, as it will be in generation; the zeros in it are not codes.
        known = codes.masked_fill(~rearrange(known_frames, "B T -> B 1 T"), self.lm.special_code)
        num_frames = codes.shape[-1]
        length = self.pattern.training_length(num_frames)
        sequence = interleave(known, self.pattern.steps(num_frames), length, empty=self.lm.special_code)
        logits: Logits = self.lm(sequence, inputs)
        return logits


def stretches(mask: Bool[Tensor, "B T"], probability: float, generator: torch.Generator) -> Bool[Tensor, "B T"]:
    """True for a stretch of frames in each row that is drawn; a call draws the same amount whatever the probability."""
    batch, num_frames = mask.shape
    draws = torch.rand(4, batch, 1, generator=generator, device=generator.device).to(mask.device)
    first, last = (draws[:2] * num_frames).sort(dim=0).values
    first = torch.where(draws[2] < 0.5, 0.0, first)
    frames = torch.arange(num_frames, device=mask.device)
    return (draws[3] < probability) & (frames >= first) & (frames < last)


def other_caption(captions: Sequence[str | None], index: int) -> str | None:
    """Another clip's caption that differs from this one's, searched from half a list away; None if there is none.

    Half a list, because neighbours are often crops of one song.
    """
    if captions[index] is None:
        return None
    start = index + len(captions) // 2
    around = [captions[(start + offset) % len(captions)] for offset in range(len(captions))]
    return next((caption for caption in around if caption not in (None, captions[index])), None)


def _by_codebook(name: str, values: Float[Tensor, "clips K"]) -> dict[str, float]:
    """The mean over clips and codebooks, and that over the clips for each codebook."""
    return {
        name: float(values.mean()),
        **{f"{name}_q{index}": float(mean) for index, mean in enumerate(values.mean(dim=0))},
    }


def _gain(name: str, differences: Float[Tensor, " clips"]) -> dict[str, float]:
    mean = float(differences.mean())
    margin = 1.96 * float(differences.std()) / math.sqrt(len(differences))
    return {name: mean, f"{name}_low": mean - margin, f"{name}_high": mean + margin}
