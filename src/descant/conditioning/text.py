"""The text condition: from the vectors of a frozen encoder to what the language model attends to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

from descant.conditioning.base import (
    Conditioner,
    Conditions,
    Embedding,
    FrameSpan,
    Fusion,
    TextEncoder,
    TextLimit,
    readable_text,
)
from descant.conditioning.normalize import normalize_text
from descant.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class T5Text:
    """Text through a frozen T5 or FLAN-T5, found by hub id or in a folder.

    Args:
        has_projection: False feeds the T5's vectors to the language model directly; both must have the same width.
        has_pooled_text: the mean of a text's vectors is added to every step and to the input of the output heads, in
            addition to cross-attention. For small models and short trainings; the released models do not have it.
        is_normalized: texts go through ``normalize_text``, in training and in generation; tempo and key are still
            parsed from the text as it was written.
    """

    name: str = "t5-base"
    dim: int = 768
    has_projection: bool = True
    has_pooled_text: bool = False
    is_normalized: bool = False


@dataclass(frozen=True, kw_only=True)
class SmallText:
    """Text through the small encoder in the model's own folder, or through the package's where the folder has none.

    Args:
        has_pooled_text, is_normalized: as in ``T5Text``.
    """

    dim: int = 384
    has_pooled_text: bool = False
    is_normalized: bool = False

    @property
    def has_projection(self) -> bool:
        """Always: its vectors go through a linear map to the language model's width."""
        return True


class TextConditioner(Conditioner[Embedding]):
    """The frozen text encoder, and trained linear maps from its vectors to the language model's width.

    Args:
        width: width of the language model.
        encoder: not part of the weights.
        method: how the token vectors enter the language model, ``cross`` or, in a model without cross-attention,
            ``prefix``.

    Raises:
        ConfigError: the encoder's vectors have another width than the config says.
    """

    name = condition = "text"

    def __init__(
        self, config: T5Text | SmallText, lm_width: int, encoder: TextEncoder, fusion: Fusion = "cross"
    ) -> None:
        super().__init__()
        if encoder.dim != config.dim:
            raise ConfigError(f"the text encoder is {encoder.dim} wide, the model expects {config.dim}")
        self.config, self.encoder, self.fusion = config, encoder, fusion
        self.project = nn.Linear(config.dim, lm_width) if config.has_projection else nn.Identity()
        self.project_pooled = nn.Linear(config.dim, lm_width) if config.has_pooled_text else None
        self.project_output = nn.Linear(config.dim, lm_width) if config.has_pooled_text else None
        if self.project_output is not None:
            # Zero at first: the heads are to learn from the hidden states before anything is added to them.
            nn.init.zeros_(self.project_output.weight)
            nn.init.zeros_(self.project_output.bias)

    def encoder_text(self, text: str | None) -> str | None:
        """The text that the encoder is given; None where nothing is left to read."""
        readable = readable_text(text)
        return normalize_text(readable) if readable is not None and self.config.is_normalized else readable

    def text_limits(self) -> list[TextLimit]:
        if self.encoder.max_tokens is None:
            return []
        return [(self.encoder.max_tokens, lambda text: len(self.encoder.tokens(self.encoder_text(text) or "")))]

    def prepare(self, rows: Sequence[Conditions]) -> Embedding:
        """The encoder's vectors of each text."""
        return self.encoder.encode([self.encoder_text(row.get("text")) for row in rows])

    def forward(
        self, prepared: Embedding, span: FrameSpan, drop: Bool[Tensor, " B"] | None = None
    ) -> dict[Fusion, Embedding]:
        """The token vectors and, with ``has_pooled_text``, their mean for the steps (sum) and for the heads (output).

        Only the token vectors are the same in any batch, bit for bit. The last bits of the projections and of the mean
        may change with the padding: for the same codes in any batch, embed each request by itself, as
        ``GenerationState`` in ``generation/state.py`` does.
        """
        del span
        weight = next(self.parameters(), None)
        if weight is not None:
            prepared = prepared.to(weight.device, weight.dtype)
        values, mask = prepared.values, prepared.mask
        # The maps have biases: without the mask a null row would not be zero (audiocraft, T5Conditioner.forward).
        embedded: dict[Fusion, Embedding] = {self.fusion: Embedding.masked(self.project(values), mask, drop)}
        if self.project_pooled is not None and self.project_output is not None:
            has_text = mask.any(dim=1, keepdim=True)
            mean = values.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
            pooled = self.project_pooled(mean)
            output = self.project_output(F.layer_norm(mean, mean.shape[-1:]))
            embedded["sum"] = Embedding.masked(pooled[:, None], has_text, drop)
            embedded["output"] = Embedding.masked(output[:, None], has_text, drop)
        return embedded

    def move_encoder(self, device: torch.device) -> None:
        self.encoder = self.encoder.to(device)
