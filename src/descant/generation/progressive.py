"""The audio of one request as its codes become known. The steps themselves are drawn by its owner, for this music alone
or for several side by side.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import CheckpointError
from descant.generation.audio import FADE_S, join, render
from descant.generation.chunk_lengths import ChunkLengths
from descant.generation.decode import Decoder
from descant.generation.decode_job import Decoding
from descant.generation.plan import Window
from descant.generation.request import Request
from descant.generation.resolve import ResolvedRequest
from descant.generation.state import GenerationState
from descant.generation.texts import TextReader

Waves: TypeAlias = Generator[Float[Tensor, "C n"] | int, None, None]
"""Waves [C, n] in order, and a number wherever at least as many more steps of the decoder are needed first."""


@dataclass(frozen=True)
class PromptChange:
    """A new prompt that applies from the next frame on; None is the null condition."""

    text: str | None


class ProgressiveMusic:
    """The waves of one request, which together are the whole.

    Of the waves that were given out only the codes are kept.

    Args:
        chunk_s: seconds of new frames in a wave; the last one of a window, or before a change, may be shorter.
        first_chunk_s: the same of the first wave; each of the next ones is twice as long as the one before, up to
            ``chunk_s``.
        longest_chunk_s: up to this length instead while the music is made much faster than it is played
            (`ChunkLengths`); None is ``chunk_s``.
    """

    def __init__(
        self, state: GenerationState, chunk_s: float, first_chunk_s: float, longest_chunk_s: float | None = None
    ) -> None:
        self._state = state
        codec = state.model.codec
        self._chunk_frames = [
            max(1, round(seconds * codec.frame_rate_hz))
            for seconds in (first_chunk_s, chunk_s, chunk_s if longest_chunk_s is None else longest_chunk_s)
        ]
        self._decoder = codec.stream()
        self._change: PromptChange | None = None
        """Waits until the frames that are being drawn are given out; a later change replaces it."""
        self._current: tuple[Decoding, Window] | None = None

    @property
    def request(self) -> ResolvedRequest:
        """The request with everything decided, and with the prompts that were changed since."""
        return self._state.request

    @property
    def codes(self) -> Int[Tensor, "K T"]:
        """The codes of all windows that are complete or were left, the prompt's first."""
        return self._state.codes.cpu()

    @property
    def known_s(self) -> float:
        """Seconds of the result whose codes are known, of which the last may not be audible yet."""
        # Another thread may make the music meanwhile, and end the window: then its codes are in the state. So the state
        # is asked last.
        current = self._current
        frames = self._state.codes.shape[-1]
        if current is not None:
            decoding, window = current
            frames = max(frames, window.first + decoding.num_known)
        codec = self._state.model.codec
        lead_in_s = self.request.lead_in_samples / codec.sample_rate_hz
        return min(max(0.0, frames / codec.frame_rate_hz - lead_in_s), self.request.duration_s)

    @property
    def is_over(self) -> bool:
        """Whether its audition ends it early."""
        return self._state.is_over

    def change(self, text: str | None) -> None:
        """Draws the music under another prompt from the next frame on; later prompts of the timeline are dropped.

        Raises:
            InvalidRequest: a request may not have this text, or the model cannot read it.
        """
        read = TextReader(self._state.model).read(self._asked(text=text))
        # Prepared here, so that it is refused now and not when the music gets there.
        self._state.check(read.text)
        self._change = PromptChange(read.text)

    def revise(self, later: Sequence[tuple[float, str]], decoder: Decoder) -> None:
        """Replaces the prompts of the timeline that have not begun. The music is then the same as if it had been asked
        for with this timeline.

        Args:
            later: the new ones, as (second, text).
            decoder: that of ``waves``; between two of its steps.

        Raises:
            InvalidRequest: a prompt begins within what is drawn already or after the end; or the model cannot read it.
        """
        state, request = self._state, self.request
        asked = self._asked(timeline=tuple(later), duration_s=request.duration_s)
        read = TextReader(state.model).read(asked).timeline
        for _, text in read:
            state.check(text)
        if self._current is None:
            state.revise(read, state.next_window, request.num_prompt_frames + 1)
            return
        decoding, window = self._current
        shorter = state.revise(read, window, window.first + decoding.num_begun)
        if shorter.end < window.end:
            decoder.shorten(decoding, shorter.num_frames)
        self._current = decoding, shorter

    def waves(self, decoder: Decoder) -> Waves:
        """The prompt's audio, and then that of the new frames, as ``generate`` joins them. A loop comes at the end."""
        prompt, rate_hz = self.request.prompt_wave, self._state.model.codec.sample_rate_hz
        if self.request.lead_in_samples:
            yield from self._at_the_end(decoder)
            return
        waves = self._trimmed(self._decoded(decoder))
        length = prompt.shape[1]
        if length:
            yield prompt
            # The join needs the decoded audio up to the end of its fade.
            needed = min(length + round(FADE_S * rate_hz), self.request.num_samples)
            decoded = torch.zeros(len(prompt), 0)
            while decoded.shape[1] < needed:
                wave = next(waves)
                if isinstance(wave, int):
                    yield wave
                else:
                    decoded = torch.cat([decoded, wave], dim=1)
            yield join(prompt, decoded, rate_hz)[:, length:]
        yield from waves

    def _asked(self, **changes: object) -> Request:
        return Request(**{"long_prompt": self.request.original.long_prompt, **changes})  # type: ignore[arg-type]

    def _at_the_end(self, decoder: Decoder) -> Waves:
        for codes in self._frames(decoder):
            if isinstance(codes, int):
                yield codes
        yield render(self._state.model.codec, [self._state.codes], [self.request])[0]

    def _trimmed(self, waves: Iterator[Float[Tensor, "C n"] | int]) -> Waves:
        """The waves up to the end of the request, which may lie within a frame."""
        left = self.request.num_samples
        for wave in waves:
            if isinstance(wave, int):
                yield wave
                continue
            if left and wave.shape[1]:
                yield wave[:, :left]
            left = max(0, left - wave.shape[1])

    def _decoded(self, decoder: Decoder) -> Waves:
        """The audio of all frames as they become known, those of the prompt first."""
        if self.request.num_prompt_frames:
            yield self._push(self._state.codes)
        for codes in self._frames(decoder):
            yield codes if isinstance(codes, int) else self._push(codes)
        with torch.no_grad():
            rest = self._decoder.finish()
        yield rest[0].float().cpu()

    @torch.no_grad()
    def _push(self, codes: Int[Tensor, "K T"]) -> Float[Tensor, "C n"]:
        wave: Float[Tensor, "1 C n"] = self._decoder.push(codes[None])
        return wave[0].float().cpu()

    def _frames(self, decoder: Decoder) -> Generator[Int[Tensor, "K n"] | int, None, None]:
        """The codes of new frames, a chunk at a time, and how many steps are needed first. A change of the prompt
        starts a new window."""
        state, codec = self._state, self._state.model.codec
        first, usual, longest = self._chunk_frames
        chunk = ChunkLengths(first, usual, longest, codec.frame_rate_hz)
        # The codec keeps its look-ahead back: what goes out lags behind by so much.
        num_needed = codec.lookahead_frames + chunk.frames
        while not state.is_complete:
            if self._change is not None:
                change, self._change = self._change, None
                state.change(change.text)
            window = state.next_window
            decoding = decoder.join(state.job(window))
            self._current = decoding, window
            given = decoding.job.prompt
            try:
                while not decoding.is_done and self._change is None:
                    # No step completes more than one frame.
                    yield max(1, num_needed - (decoding.num_known - given.shape[1]))
                    state.listen(decoding, decoder, window)
                    num_known, num_given = decoding.num_known, given.shape[1]
                    if decoding.is_done or num_known - num_given >= num_needed:
                        given = decoder.codes(decoding)[:, :num_known].clone()
                        chunk.add(num_known - num_given)
                        num_needed = chunk.frames
                        yield given[:, num_given:]
            finally:
                state.append(given, window)
                # Only now: until the state has the codes, another thread finds them here (``known_s``).
                self._current = None
                if decoding in decoder.active:
                    # Values that are not finite are the business of music that goes on: its next step raises them.
                    with suppress(CheckpointError):
                        decoder.leave(decoding)
