"""Audio while it is generated: a frame is decoded once its codes, and those of the codec's look-ahead, are known."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.audio import FADE_S, join
from descant.generation.decode import Decoder
from descant.generation.request import Request
from descant.generation.resolve import ResolvedRequest
from descant.generation.runtimes import Runtime
from descant.generation.state import GenerationState
from descant.generation.texts import TextReader
from descant.nn.settings import own_settings


@dataclass(frozen=True)
class PromptChange:
    """A new prompt that applies from the next frame on; None is the null condition."""

    text: str | None


class MusicStream:
    """An iterator over the waves [C, n] of one request, which together are the whole.

    Nothing is generated before it is asked for: if the reader stops, so does the work, and nothing queues up. Of the
    waves that were read only the codes are kept. At its end, with ``close()``, or at the end of a ``with`` block
    its slot in the runtime is free again.

    Args:
        chunk_s, first_chunk_s: as in `Engine.stream`.
    """

    def __init__(self, runtime: Runtime, state: GenerationState, chunk_s: float, first_chunk_s: float) -> None:
        self._runtime, self._state = runtime, state
        codec = state.model.codec
        self._chunk_frames, self._first_chunk_frames = (
            max(1, round(seconds * codec.frame_rate_hz)) for seconds in (chunk_s, first_chunk_s)
        )
        self._decoder = codec.stream()
        self._change: PromptChange | None = None
        """Waits until the frames that are being drawn are given out; a later change replaces it."""
        self._waves = self._joined()

    def __iter__(self) -> Iterator[Float[Tensor, "C n"]]:
        return self

    def __next__(self) -> Float[Tensor, "C n"]:
        with own_settings():  # not around the generator: between two values the settings are the caller's
            return next(self._waves)

    def __enter__(self) -> "MusicStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the music here and frees its slot at once; no waves follow. Complete windows stay in ``codes``."""
        self._waves.close()

    @property
    def request(self) -> ResolvedRequest:
        """The request with everything decided: its seed, for example."""
        return self._state.request

    @property
    def codes(self) -> Int[Tensor, "K T"]:
        """All codes of the windows that are complete, the prompt's first. With one window there are none before its
        end.
        """
        return self._state.codes.cpu()

    @own_settings()
    def change(self, text: str | None) -> None:
        """Draws the music under another prompt from the next frame on; later prompts of the timeline are dropped.

        Raises:
            InvalidRequest: a request may not have this text, or the model cannot read it.
        """
        request = Request(text=text, long_prompt=self.request.original.long_prompt)
        read = TextReader(self._state.model).read(request)
        # Prepared here, so that it is refused now and not when the music gets there.
        self._state.check(read.text)
        self._change = PromptChange(read.text)

    def _joined(self) -> Generator[Float[Tensor, "C n"], None, None]:
        """The prompt's audio, and then the audio of the new frames, joined as ``generate`` joins them."""
        prompt, rate_hz = self.request.prompt_wave, self._state.model.codec.sample_rate_hz
        waves = self._trimmed(self._decoded())
        length = prompt.shape[1]
        if length:
            yield prompt
            # The join needs the decoded audio up to the end of its fade.
            needed = min(length + round(FADE_S * rate_hz), self.request.num_samples)
            decoded = torch.zeros(len(prompt), 0)
            while decoded.shape[1] < needed:
                decoded = torch.cat([decoded, next(waves)], dim=1)
            yield join(prompt, decoded, rate_hz)[:, length:]
        yield from waves

    def _trimmed(self, waves: Iterator[Float[Tensor, "C n"]]) -> Iterator[Float[Tensor, "C n"]]:
        """The waves up to the end of the request, which may lie within a frame."""
        left = self.request.num_samples
        for wave in waves:
            if left and wave.shape[1]:
                yield wave[:, :left]
            left = max(0, left - wave.shape[1])

    def _decoded(self) -> Iterator[Float[Tensor, "C n"]]:
        """The audio of all frames as they become known, those of the prompt first."""
        if self.request.num_prompt_frames:
            yield self._push(self._state.codes)
        for codes in self._frames():
            yield self._push(codes)
        with torch.no_grad():
            rest = self._decoder.finish()
        yield rest[0].float().cpu()

    @torch.no_grad()
    def _push(self, codes: Int[Tensor, "K T"]) -> Float[Tensor, "C n"]:
        wave: Float[Tensor, "1 C n"] = self._decoder.push(codes[None])
        return wave[0].float().cpu()

    def _frames(self) -> Iterator[Int[Tensor, "K n"]]:
        """The codes of new frames, a chunk at a time. A change of the prompt starts a new window."""
        state, chunk = self._state, self._first_chunk_frames
        # The codec keeps its look-ahead back: what goes out lags behind by so much.
        num_needed = state.model.codec.lookahead_frames + chunk
        with Decoder(self._runtime, state.model.config.pattern) as decoder:
            while not state.is_complete:
                if self._change is not None:
                    change, self._change = self._change, None
                    state.change(change.text)
                window = state.next_window
                decoding = decoder.join(state.job(window))
                num_given = window.start - window.first
                while not decoding.is_done and self._change is None:
                    decoder.advance()
                    num_known = decoding.num_known
                    if decoding.is_done or num_known - num_given >= num_needed:
                        yield decoder.codes(decoding)[:, num_given:num_known].clone()
                        num_given = num_known
                        num_needed = chunk = min(2 * chunk, self._chunk_frames)
                state.append(decoder.codes(decoding)[:, :num_given], window)
                if not decoding.is_done:
                    decoder.leave(decoding)
