"""Audio while it is made: as soon as a frame's codes are known, and as many after it as the codec looks ahead."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.decode import Decoding
from descant.generation.piece import Piece
from descant.generation.request import Request
from descant.generation.runtimes import Runtime
from descant.generation.seams import FADE_S, joined
from descant.generation.texts import TextReader
from descant.model import Conditions
from descant.nn.settings import own_settings


class MusicStream:
    """An iterator over the waves [C, n] of one piece, which together are the whole.

    Nothing is made before it is asked for: who stops reading stops the making, and nothing piles up. What was read is
    forgotten but for its codes.

    Args:
        num_samples: where the piece ends.
        chunk_s: how much is given at a time, at least.
    """

    def __init__(self, runtime: Runtime, piece: Piece, num_samples: int, chunk_s: float) -> None:
        self.request: Request = piece.request
        self._piece = piece
        self._runtime = runtime
        self._num_samples = num_samples
        codec = piece.model.codec
        self._chunk_frames = max(1, round(chunk_s * codec.frame_rate_hz))
        self._decoder = codec.stream()
        self._next_text: list[str | None] = []
        self._waves = self._make()

    def __iter__(self) -> Iterator[Float[Tensor, "C n"]]:
        return self

    def __next__(self) -> Float[Tensor, "C n"]:
        with own_settings():  # not around the generator: between two values the settings are the caller's
            return next(self._waves)

    @property
    def codes(self) -> Int[Tensor, "K T"]:
        """All codes of the windows that are done, the prompt's first; of a piece of one window none before its end."""
        return self._piece.codes.cpu()

    @own_settings()
    def change(self, text: str | None) -> None:
        """From the next frame on the music is drawn under another prompt; prompts that were still to come are dropped.

        Raises:
            InvalidRequest: the text is none that a request may have.
        """
        # Refused here and now, not when the music has come so far.
        request = Request(text=text, long_prompt=self.request.long_prompt)
        settled = TextReader(self._piece.model).settled(request)
        self._piece.model.heard([Conditions(text=settled.text)])
        self._next_text = [settled.text]

    def _make(self) -> Iterator[Float[Tensor, "C n"]]:
        """What was given, then what is decoded of the rest; the two are joined as ``generate`` joins them."""
        given, rate_hz = self.request.prompt, self._piece.model.codec.sample_rate_hz
        waves = self._trimmed(self._decoded())
        if given is None:
            yield from waves
            return
        yield given.samples
        length = given.samples.shape[1]
        made = torch.zeros(len(given.samples), 0)
        enough = min(length + round(FADE_S * rate_hz), self._num_samples)
        for wave in waves:
            made = torch.cat([made, wave], dim=1)
            if made.shape[1] >= enough:
                break
        yield joined(given.samples, made, rate_hz)[:, length:]
        yield from waves

    def _trimmed(self, waves: Iterator[Float[Tensor, "C n"]]) -> Iterator[Float[Tensor, "C n"]]:
        left = self._num_samples
        for wave in waves:
            if left and wave.shape[1]:
                yield wave[:, :left]
            left = max(0, left - wave.shape[1])

    def _decoded(self) -> Iterator[Float[Tensor, "C n"]]:
        """The sound of the frames as they come, the prompt's among them."""
        if self._piece.num_prompt_frames:
            yield self._pushed(self._piece.codes)
        for codes in self._frames():
            yield self._pushed(codes)
        with torch.no_grad():
            rest = self._decoder.finish()
        yield rest[0].float().cpu()

    @torch.no_grad()
    def _pushed(self, codes: Int[Tensor, "K T"]) -> Float[Tensor, "C n"]:
        wave: Float[Tensor, "1 C n"] = self._decoder.push(codes[None])
        return wave[0].float().cpu()

    def _frames(self) -> Iterator[Int[Tensor, "K n"]]:
        """The codes of new frames, a chunk at a time."""
        piece = self._piece
        while piece.codes.shape[-1] < piece.num_frames:
            if self._next_text:
                piece.change(self._next_text.pop())
            window = piece.windows.pop(0)
            decoding = Decoding(self._runtime, piece.model.config.pattern, [piece.draft(window)])
            given = window.start - window.first
            while not decoding.is_done:
                decoding.advance()
                known = decoding.num_known(0)
                if not decoding.is_done and known - given < self._chunk_frames:
                    continue
                yield decoding.codes()[0][:, given:known].clone()
                given = known
                if self._next_text:
                    break
            piece.write(decoding.codes()[0][:, :given], window)
