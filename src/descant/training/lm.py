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
from descant.config import to_dict
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError
from descant.lm.loss import pattern_cross_entropy
from descant.model import MusicGenModel
from descant.nn.inputs import LMInputs
from descant.patterns import interleave
from descant.shapes import Codes, Logits
from descant.training.logs import say
from descant.training.long_captions import CaptionReader
from descant.training.task import Metrics, StepContext, Task


@dataclass(frozen=True, kw_only=True)
class LMTaskConfig:
    """What the language model's loss counts and how often it goes without conditions.

    Args:
        history_dropout: how often a clip loses a stretch of its past: half of the time all up to a random frame, else
            from one random frame to another. There the next code must be found in the conditions and in what is further
            away. Otherwise nearly all of the loss is settled by the frame before, and a small model learns to repeat it
            and never learns to hear its caption.
        codebook_weights: how much the cross-entropy of each codebook counts; only ratios matter. None is all alike.
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
    """The language model of a model, and what tells it text, tempo, key, melody and points of a joint space; codec and
    text encoder stay as they are, and so does what tells styles.

    A melody model learns melodies from batches that have chromagrams, and is told the null melody without them. A model
    with a joint space learns from where the sound of its clips is, also without captions; its codebooks should have
    been started (``ClapConditioner.start``). A style model is told the null style.

    Args:
        validation: batches that every validation reads; the same for all runs to be compared.

    Captions that are too long for the text encoder are cut, with a note; ``captions.name_long_ones`` says beforehand
    whose.
    """

    def __init__(self, model: MusicGenModel, config: LMTaskConfig, validation: Sequence[TokenBatch] = ()) -> None:
        weights = config.codebook_weights
        if weights is not None and len(weights) != model.lm.config.num_codebooks:
            raise ConfigError(f"codebook_weights={weights}: this model has {model.lm.config.num_codebooks} codebooks")
        self.config = config
        self.music, self.lm, self.pattern = model, model.lm, model.config.pattern
        parts = {
            "lm": model.lm,
            "text": model.text,
            "facts": model.facts,
            "melody": model.melody,
            "clap": model.clap,
        }
        self.model = self.trained = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        self.validation = validation
        self.captions = CaptionReader(model.read, note=say)

    def to(self, device: torch.device) -> None:
        self.trained.to(device)
        if self.music.style is not None:
            self.music.style.to(device)
        self.music.text_encoder = self.music.text_encoder.to(device)

    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        return {"lm": {name: value for name, value in self.trained.named_parameters() if value.requires_grad}}

    def loss(self, phase: str, batch: TokenBatch, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """Cross-entropy in nats: of all codes (``ce``) and of each codebook's (``ce_q0``, ...)."""
        assert phase == "lm", "a language model has one phase"
        lost = self.config.dropout.rows(len(batch.captions), context.generator)
        read = self.captions.read(batch.captions, batch.clips)
        read = read.without(lost["text"].to(read.mask.device))
        inputs = self._inputs(batch, batch.captions, read, ~lost["melody"], ~lost["clap"])
        device = self.music.device
        codes, mask = batch.codes.to(device), batch.frame_mask.to(device)
        weights = self.config.codebook_weights
        forgotten = stretches(mask, self.config.history_dropout, context.generator)
        loss, by_codebook = pattern_cross_entropy(
            self._logits(codes, mask & ~forgotten, inputs),
            codes,
            self.pattern,
            mask,
            None if weights is None else torch.tensor(weights, device=device),
        )
        return loss, {
            "ce": by_codebook.mean(),
            **{f"ce_q{index}": value for index, value in enumerate(by_codebook)},
            "audio_s": float(batch.frame_mask.sum()) / self.music.codec.frame_rate_hz,
        }

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Cross-entropy on the validation clips, told their captions and nothing else, and what conditions are worth.

        ``caption_gain`` is how much worse the same clips are predicted with another clip's caption, the mean of the
        paired differences in nats, with its 95 % interval. Clips without a caption have no part in it. ``melody_gain``
        is how much better they are predicted with their own melody than without one, ``clap_gain`` the same of their
        place in the joint space.
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
            metrics |= _gain("caption_gain", (self._by_clip(others) - own).mean(dim=1)[paired])
        if len(captions) > 1 and self.music.melody is not None and self.validation[0].chroma is not None:
            with_melody = self._by_clip(captions, has_melody=True)
            metrics |= {"ce_melody": float(with_melody.mean())}
            metrics |= _gain("melody_gain", (own - with_melody).mean(dim=1))
        if len(captions) > 1 and self.music.clap is not None and self.validation[0].clap is not None:
            with_clap = self._by_clip(captions, has_clap=True)
            metrics |= {"ce_clap": float(with_clap.mean())}
            metrics |= _gain("clap_gain", (own - with_clap).mean(dim=1))
        return metrics

    def identity(self) -> dict[str, Any]:
        return {
            "lm_task": to_dict(self.config),
            "text": to_dict(self.music.config.text),
            "facts": to_dict(self.music.config.facts) if self.music.config.facts is not None else None,
            "melody": to_dict(self.music.config.melody) if self.music.config.melody is not None else None,
            "clap": to_dict(self.music.config.clap) if self.music.config.clap is not None else None,
            "lm": to_dict(self.lm.config),
            "pattern": repr(self.pattern),
        }

    def _by_clip(
        self, captions: list[str | None], has_melody: bool = False, has_clap: bool = False
    ) -> Float[Tensor, "clips K"]:
        """Cross-entropies of the validation clips, were these their captions, with or without melodies and points."""
        rows, left = [], iter(captions)
        for batch in self.validation:
            codes, mask = batch.codes.to(self.music.device), batch.frame_mask.to(self.music.device)
            texts = [next(left) for _ in range(len(codes))]
            is_told = [torch.full((len(codes),), told) for told in (has_melody, has_clap)]
            logits = self._logits(
                codes, mask, self._inputs(batch, texts, self.captions.read(texts, batch.clips), *is_told)
            )
            for clip in zip(logits.split(1), codes.split(1), mask.split(1), strict=True):
                rows.append(pattern_cross_entropy(clip[0], clip[1], self.pattern, clip[2])[1])
        return torch.stack(rows).cpu()

    def _inputs(
        self,
        batch: TokenBatch,
        texts: list[str | None],
        read: Embedding,
        has_melody: Bool[Tensor, " B"],
        has_clap: Bool[Tensor, " B"],
    ) -> LMInputs:
        return self.music.training_inputs(
            texts,
            read,
            batch.codes.shape[-1],
            batch.first_beats,
            chroma=batch.chroma,
            has_melody=has_melody,
            clap=batch.clap,
            has_clap=has_clap,
        )

    def _logits(self, codes: Codes, known_frames: Bool[Tensor, "B T"], inputs: LMInputs) -> Logits:
        # A frame after the clip's end holds nothing, as it will in generation; its zeros are no codes.
        known = codes.masked_fill(~rearrange(known_frames, "B T -> B 1 T"), self.lm.special_code)
        num_frames = codes.shape[-1]
        length = self.pattern.training_length(num_frames)
        sequence = interleave(known, self.pattern.steps(num_frames), length, empty=self.lm.special_code)
        logits: Logits = self.lm(sequence, inputs)
        return logits


def stretches(mask: Bool[Tensor, "B T"], probability: float, generator: torch.Generator) -> Bool[Tensor, "B T"]:
    """A stretch of frames in each of the rows that are drawn; a call draws the same amount whatever the probability."""
    batch, num_frames = mask.shape
    draws = torch.rand(4, batch, 1, generator=generator, device=generator.device).to(mask.device)
    first, last = (draws[:2] * num_frames).sort(dim=0).values
    first = torch.where(draws[2] < 0.5, 0.0, first)
    frames = torch.arange(num_frames, device=mask.device)
    return (draws[3] < probability) & (frames >= first) & (frames < last)


def other_caption(captions: Sequence[str | None], index: int) -> str | None:
    """Another clip's caption that differs from this one's, looked for from half a list away; None if there is none.

    Half a list, because neighbours are often pieces of one song.
    """
    if captions[index] is None:
        return None
    start = index + len(captions) // 2
    around = [captions[(start + offset) % len(captions)] for offset in range(len(captions))]
    return next((caption for caption in around if caption not in (None, captions[index])), None)


def _gain(name: str, differences: Float[Tensor, " clips"]) -> dict[str, float]:
    mean = float(differences.mean())
    margin = 1.96 * float(differences.std()) / math.sqrt(len(differences))
    return {name: mean, f"{name}_low": mean - margin, f"{name}_high": mean + margin}
