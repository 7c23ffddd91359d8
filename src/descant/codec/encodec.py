"""EnCodec as MusicGen uses it: SEANet around a residual quantiser, at one bitrate (arXiv 2210.13438, 2306.05284)."""

import dataclasses
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from descant.codec.base import AudioCodec, CodecOutput
from descant.codec.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from descant.errors import ConfigError
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig
from descant.nn.stream import Chain, Each, StreamStage
from descant.shapes import Codes, Wave


@dataclass(frozen=True, kw_only=True)
class EnCodecConfig(SEANetConfig):
    """The defaults are MusicGen's 32 kHz mono codec, 56.9 M parameters (arXiv 2306.05284, section 3.1).

    Its training code pads with zeros, the released weights expect reflection (their hub config).

    Args:
        decoder_filters: the decoder's own ``filters``; None is the encoder's. A larger decoder sounds better and costs
            nothing in the language model.
        codebook_dim: width of the codebook entries; None is ``latent_dim``, without projections.
        codebook_decay, kmeans_iterations, dead_code_threshold, dead_code_relative, unquantized_batches: how codebooks
            learn, see RVQConfig.
    """

    sample_rate_hz: int = 32_000
    num_codebooks: int = 4
    codebook_size: int = 2_048
    decoder_filters: int | None = None
    codebook_dim: int | None = None
    codebook_decay: float = RVQConfig.decay
    kmeans_iterations: int = RVQConfig.kmeans_iterations
    dead_code_threshold: float = RVQConfig.dead_code_threshold
    dead_code_relative: bool = RVQConfig.dead_code_relative
    unquantized_batches: int = RVQConfig.unquantized_batches

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample_rate_hz < 1 or self.sample_rate_hz % self.hop_samples:
            raise ConfigError(
                f"strides {self.strides} make a hop of {self.hop_samples} samples, which does not divide "
                f"sample_rate_hz={self.sample_rate_hz}: frames would drift against the audio"
            )
        # Built here so that a wrong value is an error when the config is made, not when the model is.
        _ = self.decoder, self.quantizer

    @property
    def decoder(self) -> SEANetConfig:
        """The shape of the decoder: the encoder's, but for the filters."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(SEANetConfig)}
        return SEANetConfig(**{**shared, "filters": self.decoder_filters or self.filters})

    @property
    def quantizer(self) -> RVQConfig:
        """The quantiser between the two halves."""
        return RVQConfig(
            dim=self.latent_dim,
            num_codebooks=self.num_codebooks,
            codebook_size=self.codebook_size,
            codebook_dim=self.codebook_dim or self.latent_dim,
            decay=self.codebook_decay,
            kmeans_iterations=self.kmeans_iterations,
            dead_code_threshold=self.dead_code_threshold,
            dead_code_relative=self.dead_code_relative,
            unquantized_batches=self.unquantized_batches,
        )


class EnCodec(AudioCodec):
    """SEANet encoder, residual quantiser, SEANet decoder."""

    one_pass_s = 0.0  # the stages of a stream are faster than the layers, for short clips too

    def __init__(self, config: EnCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self.num_channels = config.num_channels
        self.num_codebooks = config.num_codebooks
        self.codebook_size = config.codebook_size
        self.hop_samples = config.hop_samples
        self.encoder = SEANetEncoder(config)
        self.quantizer = ResidualVectorQuantizer(config.quantizer)
        self.decoder = SEANetDecoder(config.decoder)

    def encode(self, wave: Wave) -> Codes:
        """The codes of ceil(N / hop) frames; the last window is padded as ``padding_mode`` says.

        Raises:
            InvalidRequest: no samples, or another number of channels than the codec's.
        """
        return self.quantizer.encode(self._latents(wave))

    def decode(self, codes: Codes) -> Wave:
        """The audio of T frames, exactly ``T * hop_samples`` samples; its values are not bounded."""
        return self.decoder(self.quantizer.decode(codes))

    def encoding_stage(self) -> StreamStage:
        """A fresh stage from audio to codes."""
        return Chain(self.encoder.stream(), Each(self.quantizer.encode))

    def decoding_stage(self) -> StreamStage:
        """A fresh stage from codes to audio."""
        return Chain(Each(self.quantizer.decode), self.decoder.stream())

    def forward(self, wave: Wave) -> CodecOutput:
        """The reconstruction, cut to the input's length."""
        quantized = self.quantizer(self._latents(wave))
        decoded = self.decoder(quantized.latents)
        return CodecOutput(
            wave=decoded[..., : wave.shape[-1]], codes=quantized.codes, quantizer_loss=quantized.commitment_loss
        )

    def freeze_encoder(self) -> None:
        """Freezes encoder and codebooks, so that codes never change: from now on only the decoder learns."""
        self.encoder.requires_grad_(False)
        self.quantizer.requires_grad_(False)
        self.quantizer.is_frozen = True

    def _latents(self, wave: Wave) -> Float[Tensor, "B D T"]:
        self.check_wave(wave)
        return self.encoder(wave)
