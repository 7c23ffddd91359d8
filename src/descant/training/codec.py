"""The codec's training task, in up to four stages: the waveform, its spectra, adversarial training, decoder refinement.

One config describes all of them. ``spectral_from_step`` and ``adversarial_from_step`` of `CodecTaskConfig` are the
steps at which spectral losses and discriminator join; ``freeze_encoder=True`` keeps all codes unchanged, so that only
the decoder is refined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from descant.codec.balancer import Balancer
from descant.codec.base import AudioCodec
from descant.codec.discriminators import DiscriminatorOutput
from descant.codec.losses import (
    MelLossConfig,
    MultiScaleMelLoss,
    MultiScaleSpectralLoss,
    SpectralLossConfig,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from descant.codec.metrics import si_sdr_db
from descant.config import to_dict
from descant.data.audio_dataset import AudioBatch
from descant.errors import ConfigError
from descant.shapes import Codes, Wave
from descant.training.task import Metrics, StepContext, Task


@dataclass(frozen=True, kw_only=True)
class CodecTaskConfig:
    """The weights of a codec's losses; a weight of 0 disables a loss.

    The defaults are plain weights after descript-audio-codec (arXiv 2306.06546, section 3.4), plus EnCodec's L1 loss on
    the waveform. ``combine="balancer"`` makes the weights shares of the gradient instead (arXiv 2210.13438, section
    3.4); MusicGen's own codec uses the balancer with mel 0, spectral 2, wave 0.1, adversarial 4 and feature 4.

    Args:
        quantizer_weight: weight of the quantiser's commitment loss, which never goes through the balancer.
        spectral_from_step: the first update with mel and spectral losses; those before have the one on the waveform
            alone, which shows fresh weights the way out of silence where spectra do not.
        adversarial_from_step: the first update that trains the discriminator and uses its losses; None for never.
        freeze_encoder: encoder and codebooks keep their values, and therefore so do all codes.
    """

    mel: MelLossConfig = field(default_factory=MelLossConfig)
    spectral: SpectralLossConfig = field(default_factory=SpectralLossConfig)
    mel_weight: float = 15.0
    spectral_weight: float = 0.0
    wave_weight: float = 0.1
    quantizer_weight: float = 1.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    combine: Literal["sum", "balancer"] = "sum"
    spectral_from_step: int = 0
    adversarial_from_step: int | None = None
    freeze_encoder: bool = False

    def __post_init__(self) -> None:
        for name in ("mel", "spectral", "wave", "quantizer", "adversarial", "feature"):
            if not getattr(self, f"{name}_weight") >= 0:
                raise ConfigError(f"{name}_weight={getattr(self, f'{name}_weight')}: must be 0 or more")
        if not any((self.mel_weight, self.spectral_weight, self.wave_weight)):
            raise ConfigError("mel_weight, spectral_weight and wave_weight are all 0: there is no reconstruction loss")
        if self.spectral_from_step < 0:
            raise ConfigError(f"spectral_from_step={self.spectral_from_step}: must be 0 or more")
        if self.spectral_from_step and not self.wave_weight:
            raise ConfigError(f"spectral_from_step={self.spectral_from_step}: the first updates need a wave_weight")


class CodecTask(Task):
    """Trains a codec and, from ``adversarial_from_step`` on, a discriminator on the same reconstructions.

    Args:
        validation: batches that every validation encodes and decodes; use the same ones for runs to be compared.
        training_sample: training clips that are measured in the same way; values of theirs begin with ``train_``.
    """

    criterion = "mel"

    def __init__(
        self,
        codec: AudioCodec,
        discriminator: nn.Module | None,
        config: CodecTaskConfig,
        validation: Sequence[AudioBatch] = (),
        training_sample: Sequence[AudioBatch] = (),
    ) -> None:
        if (discriminator is None) != (config.adversarial_from_step is None):
            raise ConfigError(
                f"adversarial_from_step={config.adversarial_from_step} "
                f"{'without' if discriminator is None else 'with'} a discriminator: give both or neither"
            )
        for name in ("mel", "spectral"):
            rate = getattr(config, name).sample_rate_hz
            if getattr(config, f"{name}_weight") and rate != codec.sample_rate_hz:
                raise ConfigError(f"{name}.sample_rate_hz={rate}, but the codec's is {codec.sample_rate_hz}")
        if config.freeze_encoder:
            codec.freeze_encoder()
        self.config = config
        self.codec = self.model = codec
        self.discriminator = discriminator
        self.validation, self.training_sample = validation, training_sample
        names = ("mel", "spectral", "wave") + (("adversarial", "feature") if discriminator is not None else ())
        weights = {name: float(getattr(config, f"{name}_weight")) for name in names}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.balancer = Balancer(self.weights) if config.combine == "balancer" else None
        self.own_gradients = None if self.balancer is None else 'task.combine="balancer"'
        parts = {"codec": codec, "discriminator": discriminator, "balancer": self.balancer}
        self.trained = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        # Neither trained nor saved: their windows and filters follow from the config.
        self.mel_loss = MultiScaleMelLoss(config.mel)
        self.spectral_loss = MultiScaleSpectralLoss(config.spectral)
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        for module in (self.trained, self.mel_loss, self.spectral_loss):
            module.to(device)
        self.device = device

    def phases(self, step: int) -> tuple[str, ...]:
        first = self.config.adversarial_from_step
        return ("codec",) if first is None or step < first else ("codec", "discriminator")

    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        phases = {"codec": _trainable(self.codec, "codec")}
        if self.discriminator is not None:
            phases["discriminator"] = _trainable(self.discriminator, "discriminator")
        return phases

    def loss(self, phase: str, batch: AudioBatch, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """The codec's phase carries its reconstruction over to the discriminator's phase."""
        wave = batch.wave.to(self.device)
        if phase == "discriminator":
            loss = discriminator_loss(self._discriminate(wave), self._discriminate(context.carried["wave"]))
            return loss, {"discriminator": loss}
        output = self.codec(wave)
        context.carried["wave"] = output.wave.detach()
        losses = self._reconstruction_losses(output.wave, wave, context.step)
        if "discriminator" in self.phases(context.step):
            losses |= self._adversarial_losses(output.wave, wave)
        if self.balancer is not None:
            total = self.balancer(losses, output.wave)
        else:
            total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        metrics: Metrics = {
            **losses,
            "quantizer": output.quantizer_loss,
            **_by_codebook("perplexity", perplexity(output.codes, self.codec.codebook_size)),
            "audio_s": wave.shape[0] * wave.shape[-1] / self.codec.sample_rate_hz,
        }
        return total + self.config.quantizer_weight * output.quantizer_loss, metrics

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mel loss, SI-SDR in dB and the perplexity of each codebook, over all validation batches.

        Uses ``encode`` and ``decode``, as inference does: the training forward pass of ``SpectralCodec`` has access to
        more information. SI-SDR is undefined for silent clips, which are excluded from its mean.
        """
        of_training = {f"train_{name}": value for name, value in self._measured(self.training_sample).items()}
        return {**self._measured(self.validation), **of_training}

    def _measured(self, batches: Sequence[AudioBatch]) -> dict[str, float]:
        distances, ratios, all_codes = [], [], []
        for batch in batches:
            wave = batch.wave.to(self.device)
            codes = self.codec.encode(wave)
            decoded = self.codec.decode(codes)[..., : wave.shape[-1]]
            distances.append(self.mel_loss(decoded, wave))
            ratios.append(si_sdr_db(wave.float(), decoded.float()))
            all_codes.append(codes)
        if not all_codes:
            return {}
        ratio = torch.cat(ratios)
        used = _by_codebook("perplexity", perplexity(torch.cat(all_codes), self.codec.codebook_size))
        return {
            "mel": float(torch.stack(distances).mean()),
            "si_sdr_db": float(ratio[ratio.isfinite()].mean()),
            **{name: float(value) for name, value in used.items()},
        }

    def identity(self) -> dict[str, Any]:
        return {"codec_task": to_dict(self.config)}

    def _reconstruction_losses(self, decoded: Wave, wave: Wave, step: int) -> dict[str, Tensor]:
        losses = {}
        has_spectra = step >= self.config.spectral_from_step
        if self.config.mel_weight and has_spectra:
            losses["mel"] = self.mel_loss(decoded, wave)
        if self.config.spectral_weight and has_spectra:
            losses["spectral"] = self.spectral_loss(decoded, wave)
        if self.config.wave_weight:
            losses["wave"] = l1_loss(decoded.float(), wave)
        return losses

    def _discriminate(self, wave: Wave) -> list[DiscriminatorOutput]:
        assert self.discriminator is not None, "only a task with a discriminator has its phase"
        outputs: list[DiscriminatorOutput] = self.discriminator(wave)
        return outputs

    def _adversarial_losses(self, decoded: Wave, wave: Wave) -> dict[str, Tensor]:
        with torch.no_grad():
            real = self._discriminate(wave)
        fake = self._discriminate(decoded)
        losses = {"adversarial": generator_loss(fake), "feature": feature_matching_loss(real, fake)}
        return {name: loss for name, loss in losses.items() if self.weights.get(name)}


def perplexity(codes: Codes, codebook_size: int) -> Float[Tensor, " K"]:
    """The effective number of entries in use per codebook: exp of the entropy of its codes."""
    flat = rearrange(codes, "B K T -> K (B T)")
    # scatter_add_ because bincount synchronises with the device.
    counts = torch.zeros(len(flat), codebook_size, device=codes.device)
    counts = counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=counts.dtype))
    return torch.special.entr(counts / flat.shape[1]).sum(dim=1).exp()


def _by_codebook(name: str, values: Float[Tensor, " K"]) -> dict[str, Tensor]:
    return {f"{name}_q{index}": value for index, value in enumerate(values)}


def _trainable(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters(prefix) if parameter.requires_grad}
