"""What every tokenizer of audio offers: waveforms to integer codes and back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import InvalidRequest
from descant.nn.stream import StreamStage
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
    def decoding_stage(self) -> StreamStage:
        """A fresh stage that does what ``decode`` does, from pieces of codes to pieces of wave."""

    def stream(self) -> "CodecStream":
        """A decoder of codes that come bit by bit. Several may be at work at once; gradients do not pass them."""
        return CodecStream(self.decoding_stage())

    @property
    def lookahead_frames(self) -> int:
        """How many frames after a frame must be known before a stream gives that frame's first sample."""
        return self.decoding_stage().last_needed(0)

    @abstractmethod
    def forward(self, wave: Wave) -> CodecOutput:
        """The reconstruction in training, as long as the input; gradients pass the quantiser straight through."""

    @abstractmethod
    def freeze_encoder(self) -> None:
        """From now on only the decoder learns: encoder and codebooks keep their values, so codes never change."""


class CodecStream:
    """A decoder at work on one batch of codes: what it gives, put together, is what ``decode`` makes of all of them.

    Each sample comes as soon as no later code can change it. Memory does not grow with the length::

        stream = codec.stream()
        for piece in pieces:
            play(stream.push(piece))
        play(stream.finish())
    """

    def __init__(self, stage: StreamStage) -> None:
        self.stage = stage
        self.no_frames: Codes | None = None
        self.is_finished = False

    @torch.no_grad()
    def push(self, codes: Codes) -> Wave:
        """The samples that are certain now and were not before, maybe none.

        Raises:
            InvalidRequest: the stream is finished, or these are codes of another batch or of other codebooks.
        """
        if self.is_finished:
            raise InvalidRequest("codes after finish(): a stream decodes one piece; take a new one from codec.stream()")
        if self.no_frames is not None and codes.shape[:2] != self.no_frames.shape[:2]:
            raise InvalidRequest(
                f"codes of shape {tuple(codes.shape)}: this stream began with a batch of {self.no_frames.shape[0]} and "
                f"{self.no_frames.shape[1]} codebooks"
            )
        if codes.shape[-1]:
            self.no_frames = codes[..., :0].clone()
        return self.stage.push(codes, is_last=False)

    @torch.no_grad()
    def finish(self) -> Wave:
        """All samples that are left; nothing can be pushed after.

        Raises:
            InvalidRequest: the stream is finished already, or no codes were pushed.
        """
        if self.is_finished or self.no_frames is None:
            raise InvalidRequest("finish() ends a stream once, after at least one frame was pushed")
        self.is_finished = True
        return self.stage.push(self.no_frames, is_last=True)
