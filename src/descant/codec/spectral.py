"""A codec of magnitudes: STFT in, ConvNeXt blocks, magnitudes out, and phases found by Griffin-Lim.

No code is spent on phases. A held note has the same magnitudes in every frame, and so the same codes; its phase differs
from frame to frame, and a codec that keeps it turns the note into codes that change all the time, which a small
language model cannot learn. Nearly all arithmetic is dense matrix products at the frame rate, so on a CPU the codec
trains and runs many times faster than a stack of narrow convolutions at the sample rate. It is the starter model's
codec.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from descant.codec.base import AudioCodec, CodecOutput
from descant.codec.phase import FramedSTFT
from descant.codec.phase_stream import AnalysisStream, WaveStream, WholeHops, find_wave
from descant.errors import ConfigError
from descant.nn.conv import ConvStream
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig
from descant.nn.stream import Chain, Each, InBlocks, StreamStage, Sum
from descant.shapes import Codes, Wave

MAX_LAYERS = 64
"""More are an invalid config: layers take time to create even on the meta device."""

ROWS_AT_ONCE = 8
"""BLAS libraries sum four rows or more in one order; in blocks of eight, each of two threads still gets four."""


FRAMES_AT_ONCE = 256
"""Frames that are decoded before the next are begun: two megabytes of windows, so that a processor's cache holds most
of what the rounds of Griffin-Lim read and write."""


@dataclass(frozen=True, kw_only=True)
class SpectralCodecConfig:
    """Mono audio at 50 frames a second, each frame one magnitude spectrum.

    Args:
        window_samples: length of one Hann window, centred on its frame.
        encoder_kernel_size: receptive field of an encoder block, in frames. Small: what repeats in the music should
            repeat in the codes, in any context.
        phase_iterations: rounds of Griffin-Lim in decoding.
    """

    sample_rate_hz: int = 32_000
    hop_samples: int = 640
    window_samples: int = 2_048
    encoder_width: int = 256
    encoder_layers: int = 3
    encoder_kernel_size: int = 3
    decoder_width: int = 320
    decoder_layers: int = 5
    decoder_kernel_size: int = 7
    mlp_scale: int = 3
    phase_iterations: int = 24
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
        sizes = ("hop_samples", "window_samples", "encoder_width", "decoder_width", "sample_rate_hz", "mlp_scale")
        for name in (*sizes, "encoder_kernel_size", "decoder_kernel_size", "phase_iterations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: at least 1 is needed")
        for name in ("encoder_layers", "decoder_layers"):
            if not 0 <= getattr(self, name) <= MAX_LAYERS:
                raise ConfigError(f"{name}={getattr(self, name)}: must be from 0 (none) to {MAX_LAYERS}")
        for name in ("encoder_kernel_size", "decoder_kernel_size"):
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be odd, or every block would add a frame")
        if self.window_samples < 2 * self.hop_samples or self.window_samples % 2:
            raise ConfigError(
                f"window_samples={self.window_samples} must be even and at least twice hop_samples={self.hop_samples}, "
                "or windows would not cover the wave"
            )

    @property
    def num_bins(self) -> int:
        """Frequencies of one spectrum."""
        return self.window_samples // 2 + 1


class SpectralCodec(AudioCodec):
    """Mono codec of an encoder of log-magnitudes, a residual quantiser and a decoder of magnitudes.

    In training the original's phases replace those that decoding would find: only magnitudes are learned, yet losses
    can compare waves.
    """

    one_pass_s = 30.0
    chunk_tolerance = 2e-3  # each round of Griffin-Lim magnifies the rounding of float32

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self.num_channels = 1
        self.num_codebooks = config.quantizer.num_codebooks
        self.codebook_size = config.quantizer.codebook_size
        self.hop_samples = config.hop_samples
        self.stft = FramedSTFT(config.window_samples, config.hop_samples)
        self.encoder = SpectralEncoder(config)
        self.quantizer = ResidualVectorQuantizer(config.quantizer)
        self.decoder = SpectralDecoder(config)

    def encode(self, wave: Wave) -> Codes:
        # On a CPU each wave apart: its spectra stay in the cache, and eight waves take 0.6 of the time. Same bits.
        parts = wave.split(1) if wave.device.type == "cpu" else [wave]
        return torch.cat([self.quantizer.encode(self.encoder(self._spectra(part).abs())) for part in parts])

    def decode(self, codes: Codes) -> Wave:
        return self.decoding_stage().push(codes, is_last=True)

    def encoding_stage(self) -> StreamStage:
        return Chain(
            Each(lambda wave: wave.squeeze(1)),
            WholeHops(self.hop_samples),
            AnalysisStream(self.stft),
            Each(torch.abs),
            self.encoder.stream(),
            Each(self.quantizer.encode),
        )

    def decoding_stage(self) -> StreamStage:
        stages = Chain(
            Each(self.quantizer.decode),
            self.decoder.stream(),
            WaveStream(self.stft, self.config.phase_iterations),
            Each(lambda wave: wave.unsqueeze(1)),
        )
        return InBlocks(stages, FRAMES_AT_ONCE, dim=-1)

    def decode_all(self, codes: Sequence[Int[Tensor, "K _"]]) -> list[Float[Tensor, "C _"]]:
        """As for every codec; clips of the same length are decoded together, so that each thread finds waves."""
        waves: list[Tensor] = [torch.empty(0)] * len(codes)
        for length in {of_clip.shape[1] for of_clip in codes}:
            group = [index for index, of_clip in enumerate(codes) if of_clip.shape[1] == length]
            decoded = self.decode_in_chunks(torch.stack([codes[index] for index in group]))
            for index, wave in zip(group, decoded, strict=True):
                waves[index] = wave
        return waves

    def decode_fast(self, codes: Codes) -> Wave:
        """The wave with the initial phases of decoding, without Griffin-Lim; ten times faster."""
        return find_wave(self.stft, self.decoder(self.quantizer.decode(codes)), iterations=0).unsqueeze(1)

    def forward(self, wave: Wave) -> CodecOutput:
        spectra = self._spectra(wave)
        quantized = self.quantizer(self.encoder(spectra.abs()))
        decoded = self.stft.synthesize(torch.polar(self.decoder(quantized.latents), spectra.detach().angle()))
        return CodecOutput(
            wave=decoded.unsqueeze(1)[..., : wave.shape[-1]],
            codes=quantized.codes,
            quantizer_loss=quantized.commitment_loss,
        )

    def freeze_encoder(self) -> None:
        self.encoder.requires_grad_(False)
        self.quantizer.requires_grad_(False)
        self.quantizer.is_frozen = True

    def _spectra(self, wave: Wave) -> Complex[Tensor, "B T bins"]:
        missing = self.num_frames(wave.shape[-1]) * self.hop_samples - wave.shape[-1]
        return self.stft.analyze(F.pad(wave, (0, missing)).squeeze(1))


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
        return hidden + self._perceptron(self._mix(hidden, padding=self.depthwise.kernel_size[0] // 2))

    def stream(self) -> StreamStage:
        """A fresh stage of this block."""
        half = self.depthwise.kernel_size[0] // 2
        mixed = ConvStream(self.depthwise, half, half, "constant", lambda: partial(self._mix, padding=0))
        return Sum(Chain(), Chain(mixed, Each(self._perceptron)))

    def _mix(self, hidden: Float[Tensor, "B T D"], padding: int) -> Float[Tensor, "B T_out D"]:
        conv = self.depthwise
        mixed = F.conv1d(hidden.mT, conv.weight, conv.bias, padding=padding, groups=conv.groups)
        return mixed.mT

    def _perceptron(self, mixed: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The residual to add to the hidden values."""
        inside = F.gelu(multiply(self.up, self.norm(mixed)))
        return self.scale * multiply(self.down, inside)


class SpectralEncoder(nn.Module):
    """Magnitudes to latents, one per frame."""

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.num_bins, config.encoder_width)
        self.blocks = _blocks(config.encoder_width, config.encoder_kernel_size, config.mlp_scale, config.encoder_layers)
        self.norm = nn.LayerNorm(config.encoder_width)
        self.to_latent = nn.Linear(config.encoder_width, config.quantizer.dim)

    def forward(self, magnitudes: Float[Tensor, "B T bins"]) -> Float[Tensor, "B D T"]:
        return self._latents(self.blocks(self._embed(magnitudes)))

    def stream(self) -> StreamStage:
        """A fresh stage from magnitudes to latents."""
        return Chain(Each(self._embed), *_block_stages(self.blocks), Each(self._latents))

    def _embed(self, magnitudes: Float[Tensor, "B T bins"]) -> Float[Tensor, "B T D"]:
        # Log-loudness, from about -1 to 1.
        return multiply(self.embed, magnitudes.clamp(min=1e-4).log10() / 2 + 1)

    def _latents(self, hidden: Float[Tensor, "B T D_in"]) -> Float[Tensor, "B D T"]:
        return rearrange(multiply(self.to_latent, self.norm(hidden)), "B T D -> B D T")


class SpectralDecoder(nn.Module):
    """Latents to magnitudes, one spectrum per frame."""

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.quantizer.dim, config.decoder_width)
        self.blocks = _blocks(config.decoder_width, config.decoder_kernel_size, config.mlp_scale, config.decoder_layers)
        self.norm = nn.LayerNorm(config.decoder_width)
        self.head = nn.Linear(config.decoder_width, config.num_bins)
        # Magnitudes start at those of quiet music; from 1, loud noise, a thousand steps would go into lowering them.
        nn.init.constant_(self.head.bias, -6.0)

    def forward(self, latents: Float[Tensor, "B D T"]) -> Float[Tensor, "B T bins"]:
        return self._magnitudes(self.blocks(self._embed(latents)))

    def stream(self) -> StreamStage:
        """A fresh stage from latents to magnitudes."""
        return Chain(Each(self._embed), *_block_stages(self.blocks), Each(self._magnitudes))

    def _embed(self, latents: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B T D"]:
        return multiply(self.embed, rearrange(latents, "B D T -> B T D"))

    def _magnitudes(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T bins"]:
        # A spectrum of a wave in [-1, 1] never exceeds e^3; without the bound one bad step could overflow.
        magnitudes: Tensor = multiply(self.head, self.norm(hidden)).float().clamp(max=3.0).exp()
        return magnitudes


def multiply(layer: nn.Linear, rows: Float[Tensor, "B T D_in"]) -> Float[Tensor, "B T D_out"]:
    """``layer(rows)``, each row bit-equal whatever the other rows are.

    Products of a few rows are summed in another order than those of many. The last bit can decide which of two bins is
    a peak, and rounds of Griffin-Lim amplify the difference: a stream would not equal one pass of decoding.
    """
    multiplied: Tensor = layer(F.pad(rows, (0, 0, 0, -rows.shape[1] % ROWS_AT_ONCE)))
    # Contiguous: with gaps between the rows of a batch, torch uses other kernels, whose last bits differ.
    return multiplied[:, : rows.shape[1]].contiguous()


def _blocks(width: int, kernel_size: int, mlp_scale: int, num_layers: int) -> nn.Sequential:
    return nn.Sequential(*(ConvNeXtBlock(width, kernel_size, mlp_scale, num_layers) for _ in range(num_layers)))


def _block_stages(blocks: nn.Sequential) -> list[StreamStage]:
    return [block.stream() for block in blocks if isinstance(block, ConvNeXtBlock)]
