"""Stereo from any mono codec (arXiv 2306.05284, section 2.2, stereo models)."""

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from descant.codec.base import AudioCodec, CodecOutput
from descant.errors import ConfigError, InvalidRequest
from descant.nn.stream import Chain, Each, StreamStage


class StereoCodec(AudioCodec):
    """Stereo from a mono codec: left and right are coded separately, their codebooks interleaved.

    Of its Q = 2K codebooks the even ones are left and the odd ones right, so the two sides of one level are neighbours
    and can share a delay (0 0 1 1 2 2 3 3).
    """

    def __init__(self, mono: AudioCodec) -> None:
        if mono.num_channels != 1:
            raise ConfigError(f"StereoCodec wraps a mono codec, got one with {mono.num_channels} channels")
        super().__init__()
        self.mono = mono
        self.sample_rate_hz = mono.sample_rate_hz
        self.num_channels = 2
        self.num_codebooks = 2 * mono.num_codebooks
        self.codebook_size = mono.codebook_size
        self.hop_samples = mono.hop_samples
        self.chunk_tolerance = mono.chunk_tolerance
        self.chunk_s, self.one_pass_s = mono.chunk_s / 2, mono.one_pass_s / 2

    def encode(self, wave: Float[Tensor, "B C N"]) -> Int[Tensor, "B Q T"]:
        """The codes of both sides.

        Raises:
            InvalidRequest: the wave does not have two channels.
        """
        return _interleave(self.mono.encode(_as_rows(wave)))

    def decode(self, codes: Int[Tensor, "B Q T"]) -> Float[Tensor, "B 2 N"]:
        """The audio of T frames, exactly ``T * hop_samples`` samples per side."""
        return _pair(self.mono.decode(_split(codes)))

    def encoding_stage(self) -> StreamStage:
        """The mono codec's stage, on both sides as rows."""
        return Chain(Each(_as_rows), self.mono.encoding_stage(), Each(_interleave))

    def decoding_stage(self) -> StreamStage:
        """The mono codec's stage, on both sides as rows."""
        return Chain(Each(_split), self.mono.decoding_stage(), Each(_pair))

    def forward(self, wave: Float[Tensor, "B C N"]) -> CodecOutput:
        """Both sides through the mono codec; its quantiser learns from both."""
        output = self.mono(_as_rows(wave))
        return CodecOutput(
            wave=_pair(output.wave),
            codes=_interleave(output.codes),
            quantizer_loss=output.quantizer_loss,
        )

    def freeze_encoder(self) -> None:
        """From now on only the mono codec's decoder learns."""
        self.mono.freeze_encoder()


def _as_rows(wave: Float[Tensor, "B C N"]) -> Float[Tensor, "rows 1 N"]:
    """Every side as a row of its own, so that both go through the mono codec in one pass."""
    if wave.shape[1] != 2:
        raise InvalidRequest(f"a wave of {wave.shape[1]} channels: a stereo codec takes 2, left and right")
    return rearrange(wave, "B side N -> (B side) 1 N")


def _interleave(rows: Int[Tensor, "rows K T"]) -> Int[Tensor, "B Q T"]:
    return rearrange(rows, "(B side) K T -> B (K side) T", side=2)


def _split(codes: Int[Tensor, "B Q T"]) -> Int[Tensor, "rows K T"]:
    return rearrange(codes, "B (K side) T -> (B side) K T", side=2)


def _pair(rows: Float[Tensor, "rows 1 N"]) -> Float[Tensor, "B 2 N"]:
    return rearrange(rows, "(B side) 1 N -> B side N", side=2)
