"""The styles of training clips: excerpts of their own music, which are left out of the loss."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descant.audio import Clip
from descant.codec.base import AudioCodec
from descant.conditioning.style import StyleConditioner
from descant.data.token_dataset import TokenBatch
from descant.errors import ConfigError


class StyleExcerpts:
    """Gives the rows of a batch their style: the frozen encoder's vectors of an excerpt, decoded from their codes.

    In training, all excerpts of a batch have one length, drawn from the config's range, and begin anywhere; in
    validation they are what is used in generation, the middle. Rows that are too short have no style. The frames of an
    excerpt do not count in the loss: the model is to resemble it, not to copy it (arXiv 2407.12563, section 3;
    audiocraft, StyleConditioner with compute_mask).

    Raises:
        ConfigError: the conditioner's encoder is not loaded.
    """

    def __init__(self, codec: AudioCodec, conditioner: StyleConditioner) -> None:
        if conditioner.encoder is None:
            raise ConfigError(
                f"style: {conditioner.config.features} is not loaded, and its vectors are what is learned"
            )
        self.codec = codec.eval()
        self.conditioner = conditioner

    def drawn(self, batch: TokenBatch, generator: torch.Generator) -> tuple[TokenBatch, Bool[Tensor, "B T"]]:
        """The batch with random styles, and the frames that count in the loss."""
        config = self.conditioner.config
        # Drawn in every batch alike, whatever the lengths of its clips.
        share, places = torch.rand((), generator=generator), torch.rand(len(batch.codes), generator=generator)
        excerpt_s = config.min_excerpt_s + float(share) * (config.max_excerpt_s - config.min_excerpt_s)
        return self._with_styles(batch, excerpt_s, places)

    def in_the_middle(self, batch: TokenBatch) -> tuple[TokenBatch, Bool[Tensor, "B T"]]:
        """The batch with the styles that its clips would have in generation, and the frames that count in the loss."""
        return self._with_styles(batch, self.conditioner.config.excerpt_s, torch.full((len(batch.codes),), 0.5))

    def _with_styles(
        self, batch: TokenBatch, excerpt_s: float, places: Float[Tensor, " B"]
    ) -> tuple[TokenBatch, Bool[Tensor, "B T"]]:
        length = round(excerpt_s * self.codec.frame_rate_hz)
        spare = batch.frame_mask.sum(dim=1) - length
        rows = [row for row, frames in enumerate(spare.tolist()) if frames >= 0]
        starts = (places * (spare + 1)).long()
        counted, conditions = batch.frame_mask.clone(), [dict(row) for row in batch.conditions]
        if rows:
            excerpts = torch.stack([batch.codes[row, :, starts[row] : starts[row] + length] for row in rows])
            for row, features in zip(rows, self._features(excerpts), strict=True):
                conditions[row]["style"] = features
                counted[row, starts[row] : starts[row] + length] = False
        return replace(batch, conditions=conditions), counted

    @torch.no_grad()
    def _features(self, codes: Int[Tensor, "B K T"]) -> Sequence[Float[Tensor, "frames F"]]:
        encoder = self.conditioner.encoder
        assert encoder is not None, "checked on construction"
        weight = self.conditioner.embed.weight
        waves = self.codec.decode(codes.to(weight.device)).mean(dim=1).float().cpu()
        clips = [Clip(wave[None], self.codec.sample_rate_hz).resample(encoder.sample_rate_hz) for wave in waves]
        return [encoder.features(clip.samples[0]).to(weight.device) for clip in clips]
