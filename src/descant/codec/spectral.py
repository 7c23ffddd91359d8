"""A codec that works on spectra: STFT in, ConvNeXt blocks, inverse STFT out (after Vocos, arXiv 2306.00814).

Nearly all of its arithmetic is dense products at the frame rate, so on a CPU it trains and runs several times faster
than a stack of narrow convolutions at the sample rate. It is the starter model's codec.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.codec.base import AudioCodec, CodecOutput
from descant.errors import ConfigError
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig
from descant.shapes import Codes, Wave


@dataclass(frozen=True, kw_only=True)
class SpectralCodecConfig:
    """Mono audio at 50 frames a second; every frame is analysed and made as ``subframes`` short spectra.

    Args:
        window_samples: length of one Hann window; four of them overlap at any time.
        encoder_width, encoder_layers: ConvNeXt blocks at the frame rate.
        frame_width, frame_layers: the decoder's blocks at the frame rate.
        subframe_width, subframe_layers: the decoder's blocks at ``subframes`` times the frame rate.
        compression: exponent of the magnitudes that the encoder sees with their phases; quiet partials matter too.
    """

    sample_rate_hz: int = 32_000
    hop_samples: int = 640
    subframes: int = 2
    window_samples: int = 1_280
    encoder_width: int = 256
    encoder_layers: int = 4
    frame_width: int = 320
    frame_layers: int = 3
    subframe_width: int = 256
    subframe_layers: int = 4
    kernel_size: int = 7
    mlp_scale: int = 3
    compression: float = 0.3
    quantizer: RVQConfig = field(
        default_factory=lambda: RVQConfig(
            dim=128,
            codebook_dim=128,
            codebook_size=1_024,
            dead_code_threshold=0.1,
            dead_code_relative=True,
            unquantized_batches=150,
            decay=0.97,
        )
    )

    def __post_init__(self) -> None:
        sizes = ("hop_samples", "subframes", "window_samples", "encoder_width", "frame_width", "subframe_width")
        for name in (*sizes, "sample_rate_hz", "kernel_size", "mlp_scale"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: at least 1 is needed")
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size={self.kernel_size}: must be odd, or every block would add a frame")
        if self.hop_samples % self.subframes:
            raise ConfigError(f"hop_samples={self.hop_samples} is no multiple of subframes={self.subframes}")
        if self.window_samples % self.subframe_samples or self.window_samples < 2 * self.subframe_samples:
            raise ConfigError(
                f"window_samples={self.window_samples} must be a multiple, at least twofold, "
                f"of the {self.subframe_samples} samples between windows"
            )

    @property
    def subframe_samples(self) -> int:
        """Samples from one window to the next."""
        return self.hop_samples // self.subframes

    @property
    def num_bins(self) -> int:
        """Frequencies of one spectrum."""
        return self.window_samples // 2 + 1


class SpectralCodec(AudioCodec):
    """Mono codec with an STFT encoder, a residual quantiser and an inverse-STFT decoder."""

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self.num_channels = 1
        self.num_codebooks = config.quantizer.num_codebooks
        self.codebook_size = config.quantizer.codebook_size
        self.hop_samples = config.hop_samples
        self.stft = FramedSTFT(config.window_samples, config.subframe_samples)
        self.encoder = SpectralEncoder(config)
        self.quantizer = ResidualVectorQuantizer(config.quantizer)
        self.decoder = SpectralDecoder(config)

    def encode(self, wave: Wave) -> Codes:
        return self.quantizer.encode(self._latents(wave))

    def decode(self, codes: Codes) -> Wave:
        return self._synthesize(self.quantizer.decode(codes))

    def forward(self, wave: Wave) -> CodecOutput:
        quantized = self.quantizer(self._latents(wave))
        decoded = self._synthesize(quantized.latents)[..., : wave.shape[-1]]
        return CodecOutput(wave=decoded, codes=quantized.codes, quantizer_loss=quantized.commitment_loss)

    def freeze_encoder(self) -> None:
        self.encoder.requires_grad_(False)
        self.quantizer.requires_grad_(False)
        self.quantizer.is_frozen = True

    def _latents(self, wave: Wave) -> Float[Tensor, "B D T"]:
        missing = self.num_frames(wave.shape[-1]) * self.hop_samples - wave.shape[-1]
        return self.encoder(self.stft.analyze(F.pad(wave, (0, missing)).squeeze(1)))

    def _synthesize(self, latents: Float[Tensor, "B D T"]) -> Wave:
        return self.stft.synthesize(self.decoder(latents)).unsqueeze(1)


class FramedSTFT(nn.Module):
    """Short-time spectra that lie centred on their hops: N samples are exactly N / hop spectra, and back."""

    window: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.window_samples, self.hop_samples = window_samples, hop_samples
        self.margin = (window_samples - hop_samples) // 2
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

    def analyze(self, wave: Float[Tensor, "B N"]) -> Complex[Tensor, "B spectra bins"]:
        """Spectra of a wave whose length is a multiple of the hop; scaled so that a full-scale sine is about 1."""
        padded = F.pad(wave, (self.margin, self.window_samples - self.hop_samples - self.margin))
        frames = padded.unfold(-1, self.window_samples, self.hop_samples)
        return torch.fft.rfft(frames * self.window) * (4 / self.window_samples)

    def synthesize(self, spectra: Complex[Tensor, "B spectra bins"]) -> Float[Tensor, "B N"]:
        """The wave whose spectra are nearest to these in the least-squares sense (windowed overlap-add)."""
        frames = torch.fft.irfft(spectra * (self.window_samples / 4), n=self.window_samples) * self.window
        weights = self.window.square().expand(1, spectra.shape[1], -1)
        return self._overlap_add(frames) / self._overlap_add(weights)

    def _overlap_add(self, frames: Float[Tensor, "B spectra window"]) -> Float[Tensor, "B N"]:
        num_samples = frames.shape[1] * self.hop_samples
        total = num_samples + self.window_samples - self.hop_samples
        summed = F.fold(
            rearrange(frames, "B S W -> B W S"), (1, total), (1, self.window_samples), stride=(1, self.hop_samples)
        )
        return summed[:, 0, 0, self.margin : self.margin + num_samples]


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution over time and a two-layer perceptron over channels (arXiv 2201.03545), on [B, T, D]."""

    def __init__(self, width: int, kernel_size: int, mlp_scale: int, num_layers: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, mlp_scale * width)
        self.down = nn.Linear(mlp_scale * width, width)
        # A small start keeps the first steps near the identity, whatever the depth.
        self.scale = nn.Parameter(torch.full((width,), 1.0 / num_layers))

    def forward(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        mixed = rearrange(self.depthwise(rearrange(hidden, "B T D -> B D T")), "B D T -> B T D")
        return hidden + self.scale * self.down(F.gelu(self.up(self.norm(mixed))))


class SpectralEncoder(nn.Module):
    """Spectra to latents, one per frame."""

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(3 * config.num_bins * config.subframes, config.encoder_width)
        self.blocks = _blocks(config, config.encoder_width, config.encoder_layers)
        self.norm = nn.LayerNorm(config.encoder_width)
        self.to_latent = nn.Linear(config.encoder_width, config.quantizer.dim)

    def forward(self, spectra: Complex[Tensor, "B spectra bins"]) -> Float[Tensor, "B D T"]:
        magnitude = spectra.abs().clamp(min=1e-4)
        compressed = torch.view_as_real(spectra * magnitude ** (self.config.compression - 1))
        # Loudness on its own, from about -1 to 1: phases are random, so no linear layer could find it in the other two.
        loudness = magnitude.log10()[..., None] / 2 + 1
        features = rearrange(
            torch.cat([loudness, compressed], dim=-1),
            "B (T sub) bins part -> B T (sub bins part)",
            sub=self.config.subframes,
        )
        hidden = self.blocks(self.embed(features))
        return rearrange(self.to_latent(self.norm(hidden)), "B T D -> B D T")


class SpectralDecoder(nn.Module):
    """Latents to spectra, each bin as a log-magnitude and a phase."""

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.quantizer.dim, config.frame_width)
        self.frame_blocks = _blocks(config, config.frame_width, config.frame_layers)
        self.split = nn.Linear(config.frame_width, config.subframes * config.subframe_width)
        self.subframe_blocks = _blocks(config, config.subframe_width, config.subframe_layers)
        self.norm = nn.LayerNorm(config.subframe_width)
        self.head = nn.Linear(config.subframe_width, 2 * config.num_bins)
        # Magnitudes start at those of quiet music; from 1, a wall of noise, a thousand steps go into turning down.
        nn.init.constant_(self.head.bias[: config.num_bins], -6.0)

    def forward(self, latents: Float[Tensor, "B D T"]) -> Complex[Tensor, "B spectra bins"]:
        hidden = self.frame_blocks(self.embed(rearrange(latents, "B D T -> B T D")))
        hidden = rearrange(self.split(hidden), "B T (sub D) -> B (T sub) D", sub=self.config.subframes)
        log_magnitude, phase = self.head(self.norm(self.subframe_blocks(hidden))).float().chunk(2, dim=-1)
        # A spectrum of a wave in [-1, 1] never needs more; without the bound one bad step could overflow.
        magnitude = torch.exp(log_magnitude.clamp(max=3.0))
        return torch.polar(magnitude, phase)


def _blocks(config: SpectralCodecConfig, width: int, num_layers: int) -> nn.Sequential:
    return nn.Sequential(
        *(ConvNeXtBlock(width, config.kernel_size, config.mlp_scale, num_layers) for _ in range(num_layers))
    )
