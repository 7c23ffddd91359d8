"""The interface of every audio codec: waveforms to integer codes and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from descant.errors import InvalidRequest
from descant.nn.stream import StreamStage
from descant.shapes import Codes, Wave

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of steps done and their total."""


@dataclass(frozen=True)
class CodecOutput:
    """One training pass: the reconstruction, its codes, and the quantiser's loss."""

    wave: Wave
    codes: Codes
    quantizer_loss: Float[Tensor, ""]


class AudioCodec(nn.Module, ABC):
    """Audio as K codes per frame. Frames are ``hop_samples`` long; a wave of N samples has ceil(N / hop) of them.

    ``encode`` and ``decode`` hold the activations of the whole wave in memory. ``encode_in_chunks`` and
    ``decode_in_chunks`` give the same result for a wave of any length: waves of up to ``one_pass_s`` seconds go through
    in one pass, longer ones in chunks of ``chunk_s`` seconds, in the memory of one chunk.
    """

    sample_rate_hz: int
    num_channels: int
    num_codebooks: int
    codebook_size: int
    hop_samples: int
    chunk_s: float = 5.0
    one_pass_s: float = 2.0
    chunk_tolerance: float = 1e-4

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second of audio."""
        return self.sample_rate_hz / self.hop_samples

    def num_frames(self, num_samples: int) -> int:
        """How many frames ``encode`` makes of ``num_samples`` samples."""
        return -(-num_samples // self.hop_samples)

    @abstractmethod
    def encode(self, wave: Wave) -> Codes:
        """The codes of a batch of equally long waves; the last frame is padded by the codec's own rule."""

    @abstractmethod
    def decode(self, codes: Codes) -> Wave:
        """The audio of T frames, exactly ``T * hop_samples`` samples."""

    @torch.no_grad()
    def encode_in_chunks(self, wave: Wave, progress: Progress | None = None) -> Codes:
        """The codes of ``encode``, up to rounding: where two entries are equally near in float32, either may be chosen.

        Raises:
            InvalidRequest: as ``encode``.
        """
        self.check_wave(wave)
        if wave.shape[-1] > self.one_pass_s * self.sample_rate_hz:
            return _streamed(self.encoder_stream(), wave, self._chunk_frames * self.hop_samples, progress)
        return self.encode(wave)

    @torch.no_grad()
    def decode_in_chunks(self, codes: Codes, progress: Progress | None = None) -> Wave:
        """The audio of ``decode``, within ``chunk_tolerance`` times its peak; gradients do not pass."""
        if codes.shape[-1] > self.one_pass_s * self.frame_rate_hz:
            return _streamed(self.stream(), codes, self._chunk_frames, progress)
        return self.decode(codes)

    def decode_all(self, codes: Sequence[Int[Tensor, "K _"]]) -> list[Float[Tensor, "C _"]]:
        """The audio of clips of any lengths, that of each the same bits as from ``decode_in_chunks``."""
        return [self.decode_in_chunks(of_clip[None])[0] for of_clip in codes]

    def check_wave(self, wave: Wave) -> None:
        """Refuses a wave that this codec cannot encode.

        Raises:
            InvalidRequest: no samples, or another number of channels than the codec's.
        """
        if wave.shape[1] != self.num_channels or wave.shape[-1] == 0:
            raise InvalidRequest(
                f"a wave of {wave.shape[1]} channels and {wave.shape[-1]} samples: this codec takes "
                f"{self.num_channels} channels and at least one sample"
            )

    @property
    def _chunk_frames(self) -> int:
        return max(1, round(self.chunk_s * self.frame_rate_hz))

    def decode_fast(self, codes: Codes) -> Wave:
        """As ``decode``, but a codec may be less exact and faster here: enough to recognise which notes sound."""
        return self.decode(codes)

    @abstractmethod
    def encoding_stage(self) -> StreamStage:
        """A fresh stage that computes ``encode``, from chunks of a wave to chunks of codes."""

    @abstractmethod
    def decoding_stage(self) -> StreamStage:
        """A fresh stage that computes ``decode``, from chunks of codes to chunks of a wave."""

    def stream(self) -> "CodecStream":
        """A streaming decoder. Several may be used at once; gradients do not pass."""
        return CodecStream(self.decoding_stage())

    def encoder_stream(self) -> "CodecStream":
        """A streaming encoder."""
        return CodecStream(self.encoding_stage())

    @property
    def lookahead_frames(self) -> int:
        """How many later frames a stream needs before it outputs the first sample of a frame."""
        return self.decoding_stage().last_needed(0)

    @abstractmethod
    def forward(self, wave: Wave) -> CodecOutput:
        """The reconstruction in training, as long as the input; gradients pass the quantiser straight through."""

    @abstractmethod
    def freeze_encoder(self) -> None:
        """Freezes encoder and codebooks, so that codes never change: from now on only the decoder learns."""


class CodecStream:
    """A streaming decoder or encoder of one batch: its outputs, concatenated, are those of ``decode`` or ``encode``.

    Each sample or frame is returned as soon as no later input can change it. Memory does not grow with the length::

        stream = codec.stream()
        for chunk in chunks:
            play(stream.push(chunk))
        play(stream.finish())
    """

    def __init__(self, stage: StreamStage) -> None:
        self.stage = stage
        self.empty_chunk: Tensor | None = None
        self.is_finished = False

    @torch.no_grad()
    def push(self, chunk: Codes | Wave) -> Wave | Codes:
        """The output that this chunk makes final, possibly empty.

        Raises:
            InvalidRequest: the stream is finished, or the chunk is of another batch, or of other codebooks or channels.
        """
        if self.is_finished:
            raise InvalidRequest(
                "samples or codes after finish(): a stream is for one batch; get a new one from the codec"
            )
        if self.empty_chunk is not None and chunk.shape[:2] != self.empty_chunk.shape[:2]:
            raise InvalidRequest(
                f"a chunk of shape {tuple(chunk.shape)}: this stream began with a batch of "
                f"{self.empty_chunk.shape[0]} and {self.empty_chunk.shape[1]} codebooks or channels"
            )
        if chunk.shape[-1]:
            self.empty_chunk = chunk[..., :0].clone()
        return self.stage.push(chunk, is_last=False)

    @torch.no_grad()
    def finish(self) -> Wave | Codes:
        """The rest of the output; nothing can be pushed after this.

        Raises:
            InvalidRequest: the stream is finished already, or nothing was pushed.
        """
        if self.is_finished or self.empty_chunk is None:
            raise InvalidRequest(
                "finish() ends a stream once, after at least one frame of codes or one sample was pushed"
            )
        self.is_finished = True
        return self.stage.push(self.empty_chunk, is_last=True)


def _streamed(stream: CodecStream, inputs: Tensor, chunk_steps: int, progress: Progress | None) -> Tensor:
    """The output of a stream for a whole batch, pushed in chunks of ``chunk_steps`` steps."""
    length, outputs = inputs.shape[-1], []
    for start in range(0, length, chunk_steps):
        outputs.append(stream.push(inputs[..., start : start + chunk_steps]))
        if progress is not None:
            progress(min(start + chunk_steps, length), length)
    return torch.cat([*outputs, stream.finish()], dim=-1)
