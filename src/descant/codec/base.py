"""What every tokenizer of audio offers: waveforms to integer codes and back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from descant.shapes import Codes, Wave


@dataclass(frozen=True)
class CodecOutput:
    """One training pass: the reconstruction, the codes it went through, and what the quantiser adds to the loss."""

    wave: Wave
    codes: Codes
    quantizer_loss: Float[Tensor, ""]


class AudioCodec(nn.Module, ABC):
    """Audio as K codes a frame. Frames are ``hop_samples`` long; a wave of N samples has ceil(N / hop) of them."""

    sample_rate_hz: int
    num_channels: int
    num_codebooks: int
    codebook_size: int
    hop_samples: int

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second of audio."""
        return self.sample_rate_hz / self.hop_samples

    def num_frames(self, num_samples: int) -> int:
        """How many frames ``encode`` gives for that many samples."""
        return -(-num_samples // self.hop_samples)

    @abstractmethod
    def encode(self, wave: Wave) -> Codes:
        """The codes of a batch of equally long waves; the last frame is padded by the codec's own rule."""

    @abstractmethod
    def decode(self, codes: Codes) -> Wave:
        """The audio of T frames, exactly ``T * hop_samples`` samples."""

    def sketch(self, codes: Codes) -> Wave:
        """As ``decode``; a codec may be quicker here, for those who ask for no more than what notes sound."""
        return self.decode(codes)

    @abstractmethod
    def forward(self, wave: Wave) -> CodecOutput:
        """The reconstruction in training, as long as the input; gradients pass the quantiser straight through."""

    @abstractmethod
    def freeze_encoder(self) -> None:
        """From now on only the decoder learns: encoder and codebooks keep their values, so codes never change."""
