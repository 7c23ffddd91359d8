"""Audio while it is generated: a frame is decoded once its codes, and those of the codec's look-ahead, are known."""

from collections.abc import Generator, Iterator
from types import TracebackType

from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.decode import Decoder
from descant.generation.progressive import ProgressiveMusic
from descant.generation.resolve import ResolvedRequest
from descant.generation.runtimes import Runtime
from descant.generation.state import GenerationState
from descant.nn.settings import own_settings


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
        self._music = ProgressiveMusic(state, chunk_s, first_chunk_s)
        self._waves = self._drawn()

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
        """Ends the music here and frees its slot at once; no waves follow. What was given out stays in ``codes``."""
        with own_settings():
            self._waves.close()

    @property
    def request(self) -> ResolvedRequest:
        """The request with everything decided: its seed, for example."""
        return self._music.request

    @property
    def codes(self) -> Int[Tensor, "K T"]:
        """All codes of the windows that are complete, the prompt's first. With one window there are none before its
        end.
        """
        return self._music.codes

    @own_settings()
    def change(self, text: str | None) -> None:
        """Draws the music under another prompt from the next frame on; later prompts of the timeline are dropped.

        Raises:
            InvalidRequest: a request may not have this text, or the model cannot read it.
        """
        self._music.change(text)

    def _drawn(self) -> Generator[Float[Tensor, "C n"], None, None]:
        with Decoder(self._runtime, self._state.model.config.pattern) as decoder:
            waves = self._music.waves(decoder)
            try:
                for wave in waves:
                    if isinstance(wave, int):
                        decoder.advance(most=wave)
                    else:
                        yield wave
            finally:
                waves.close()
