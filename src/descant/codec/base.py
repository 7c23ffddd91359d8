"""What every tokenizer of audio offers: waveforms to integer codes and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import InvalidRequest
from descant.nn.stream import StreamStage
from descant.shapes import Codes, Wave

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True)
class CodecOutput:
    """One training pass: the reconstruction, the codes it went through, and what the quantiser adds to the loss."""

    wave: Wave
    codes: Codes
    quantizer_loss: Float[Tensor, ""]


class AudioCodec(nn.Module, ABC):
    """Audio as K codes a frame. Frames are ``hop_samples`` long; a wave of N samples has ceil(N / hop) of them.

    ``encode`` and ``decode`` hold all that happens inside at once; ``encode_in_pieces`` and ``decode_in_pieces`` give
    the same for a wave of any length: what is no longer than ``at_once_s`` in one pass, the rest in pieces of
    ``piece_s`` seconds, in the memory of one.
    """

    sample_rate_hz: int
    num_channels: int
    num_codebooks: int
    codebook_size: int
    hop_samples: int
    piece_s: float = 2.0
    at_once_s: float = 2.0
    pieces_tolerance: float = 1e-4

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

    @torch.no_grad()
    def encode_in_pieces(self, wave: Wave, progress: Progress | None = None) -> Codes:
        """What ``encode`` gives, but for ties of float32: where two entries are equally near, either may be taken.

        Raises:
            InvalidRequest: as ``encode``.
        """
        self.check_wave(wave)
        if wave.shape[-1] > self.at_once_s * self.sample_rate_hz:
            return _joined(self.encoder_stream(), wave, self._piece_frames * self.hop_samples, progress)
        return self.encode(wave)

    @torch.no_grad()
    def decode_in_pieces(self, codes: Codes, progress: Progress | None = None) -> Wave:
        """What ``decode`` gives, within ``pieces_tolerance`` of the loudest sample; gradients do not pass."""
        if codes.shape[-1] > self.at_once_s * self.frame_rate_hz:
            return _joined(self.stream(), codes, self._piece_frames, progress)
        return self.decode(codes)

    def check_wave(self, wave: Wave) -> None:
        """Makes sure that there is something to encode.

        Raises:
            InvalidRequest: no samples, or another number of channels than the codec's.
        """
        if wave.shape[1] != self.num_channels or wave.shape[-1] == 0:
            raise InvalidRequest(
                f"a wave of {wave.shape[1]} channels and {wave.shape[-1]} samples: this codec takes "
                f"{self.num_channels} channels and at least one sample"
            )

    @property
    def _piece_frames(self) -> int:
        return max(1, round(self.piece_s * self.frame_rate_hz))

    def decode_fast(self, codes: Codes) -> Wave:
        """As ``decode``; a codec may be quicker here, for those who ask for no more than what notes sound."""
        return self.decode(codes)

    @abstractmethod
    def encoding_stage(self) -> StreamStage:
        """A fresh stage that does what ``encode`` does, from pieces of wave to pieces of codes."""

    @abstractmethod
    def decoding_stage(self) -> StreamStage:
        """A fresh stage that does what ``decode`` does, from pieces of codes to pieces of wave."""

    def stream(self) -> "CodecStream":
        """A decoder of codes that come bit by bit. Several may be at work at once; gradients do not pass them."""
        return CodecStream(self.decoding_stage())

    def encoder_stream(self) -> "CodecStream":
        """An encoder of a wave that comes bit by bit."""
        return CodecStream(self.encoding_stage())

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
    """A decoder, or an encoder, at work on one batch: what it gives, put together, is what ``decode``, or ``encode``,
    makes of the whole.

    Each sample, or frame, comes as soon as nothing later can change it. Memory does not grow with the length::

        stream = codec.stream()
        for piece in pieces:
            play(stream.push(piece))
        play(stream.finish())
    """

    def __init__(self, stage: StreamStage) -> None:
        self.stage = stage
        self.nothing: Tensor | None = None
        self.is_finished = False

    @torch.no_grad()
    def push(self, piece: Codes | Wave) -> Wave | Codes:
        """What is certain now and was not before, maybe nothing.

        Raises:
            InvalidRequest: the stream is finished, or the piece is of another batch, or of other codebooks or channels.
        """
        if self.is_finished:
            raise InvalidRequest(
                "samples or codes after finish(): a stream is for one batch; take a new one from the codec"
            )
        if self.nothing is not None and piece.shape[:2] != self.nothing.shape[:2]:
            raise InvalidRequest(
                f"a piece of shape {tuple(piece.shape)}: this stream began with a batch of {self.nothing.shape[0]} and "
                f"{self.nothing.shape[1]} codebooks or channels"
            )
        if piece.shape[-1]:
            self.nothing = piece[..., :0].clone()
        return self.stage.push(piece, is_last=False)

    @torch.no_grad()
    def finish(self) -> Wave | Codes:
        """All that is left; nothing can be pushed after.

        Raises:
            InvalidRequest: the stream is finished already, or nothing was pushed.
        """
        if self.is_finished or self.nothing is None:
            raise InvalidRequest(
                "finish() ends a stream once, after at least one frame of codes or one sample was pushed"
            )
        self.is_finished = True
        return self.stage.push(self.nothing, is_last=True)


def _joined(stream: CodecStream, whole: Tensor, piece: int, progress: Progress | None) -> Tensor:
    """What a stream makes of all of a batch, pushed in pieces of so many steps."""
    length, made = whole.shape[-1], []
    for start in range(0, length, piece):
        made.append(stream.push(whole[..., start : start + piece]))
        if progress is not None:
            progress(min(start + piece, length), length)
    return torch.cat([*made, stream.finish()], dim=-1)
