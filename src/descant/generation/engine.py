"""Requests to music: decodes their windows side by side, and reports progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from descant.devices import WeightFormat
from descant.errors import Cancelled, InvalidRequest
from descant.generation.audio import render
from descant.generation.audition import Audition
from descant.generation.decode_threads import complete_codes
from descant.generation.readers import Readers, ReadRequest
from descant.generation.request import Request
from descant.generation.resolve import ResolvedRequest
from descant.generation.runtimes import Runtime, runtime_for
from descant.generation.runtimes.native.weights import PackedMatrices
from descant.generation.stream import MusicStream
from descant.generation.stream_batch import StreamBatch
from descant.generation.variants import Variants
from descant.model import MusicGenModel
from descant.nn.settings import own_settings


@dataclass(frozen=True, eq=False)
class GeneratedMusic:
    """The result of a request: the audio, and all its codes, which begin with those of the prompt or of the bar before
    a loop.
    """

    wave: Float[Tensor, "C N"]
    codes: Int[Tensor, "K T"]
    request: ResolvedRequest


class Engine:
    """Generates music with one model. It keeps nothing of a call, so threads may share it.

    Args:
        max_batch: the most requests that are decoded together; the others wait.
        weight_format: what the language model's matrices are rounded to; only the rounded ones are kept then.
        packed: matrices that were packed in this format while the model was loaded.
    """

    def __init__(
        self,
        model: MusicGenModel,
        max_batch: int = 8,
        weight_format: WeightFormat | None = None,
        packed: PackedMatrices | None = None,
    ) -> None:
        self.model = model
        self.max_batch = max_batch
        self.runtime = runtime_for(model.lm, weight_format, packed)

    @property
    def runtime(self) -> Runtime:
        """What executes the steps of requests without adapters; another one may be put in its place."""
        return self._variants.runtime

    @runtime.setter
    def runtime(self, runtime: Runtime) -> None:
        self._variants = Variants(self.model, runtime)

    @own_settings()
    def generate(
        self,
        requests: Sequence[Request],
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[GeneratedMusic]:
        """The music of every request, in their order; each is the same as if it were generated alone (on a CPU).

        Args:
            progress: called with the number of steps done and the number of all steps.
            cancel: called before steps and before each request is prepared; True stops everything.

        Raises:
            InvalidRequest: a request asks for something that this model cannot do; raised before the first step.
            Cancelled: ``cancel`` returned True.
        """
        made = self.generate_some(requests, [None] * len(requests), progress, cancel)
        return [music for music in made if music is not None]

    @own_settings()
    def generate_some(
        self,
        requests: Sequence[Request],
        auditions: Sequence[Audition | None],
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[GeneratedMusic | None]:
        """As ``generate``, with an audition for each request; None where it is over in the end.

        The codes of one request do not change where another one ends. Steps that are left out count as done.
        """
        readers = Readers(self._variants)
        read: list[ReadRequest] = []
        for request, audition in zip(requests, auditions, strict=True):
            if cancel is not None and cancel():
                raise Cancelled("stopped while the requests were prepared")
            read.append(readers.read(request, audition))
        states = [one.state for one in read]
        total = sum(state.num_steps(window) for state in states for window in state.windows)
        complete_codes(
            [(one.state, one.variant.runtime) for one in read],
            self.model.config.pattern,
            self.max_batch,
            None if progress is None else lambda done: progress(done, total),
            cancel,
        )
        kept = [state for state in states if not state.is_over]
        waves = render(self.model.codec, [state.codes for state in kept], [state.request for state in kept])
        made = {
            state: GeneratedMusic(wave, state.codes.cpu(), state.request)
            for state, wave in zip(kept, waves, strict=True)
        }
        return [made.get(state) for state in states]

    @own_settings()
    def stream(self, request: Request, *, chunk_s: float = 0.5, first_chunk_s: float = 0.1) -> MusicStream:
        """The music of one request, chunk by chunk while it is generated, with the same codes as from ``generate``.

        Args:
            chunk_s: seconds of new frames in a chunk; the last one of a window, or before a change, may be shorter.
            first_chunk_s: the same of the first chunk, so that the music begins soon; each of the next ones is twice as
                long as the one before, up to ``chunk_s``.

        Raises:
            InvalidRequest: as ``generate``; or the request is a loop, which is cut from the finished music.
        """
        if request.loop_bars is not None:
            raise InvalidRequest(
                "loop_bars: a loop is cut from the finished music and cannot be streamed; use generate"
            )
        read = Readers(self._variants).read(request)
        return MusicStream(read.variant.runtime, read.state, chunk_s, min(first_chunk_s, chunk_s))

    def stream_batch(
        self, *, chunk_s: float = 0.5, first_chunk_s: float = 0.1, longest_chunk_s: float | None = None
    ) -> StreamBatch:
        """For several requests that are streamed side by side; lengths as in ``stream``.

        Args:
            longest_chunk_s: chunks grow up to this length while the music is made much faster than it is played; None
                is ``chunk_s``.
        """
        lengths = chunk_s, min(first_chunk_s, chunk_s), chunk_s if longest_chunk_s is None else longest_chunk_s
        return StreamBatch(self._variants, self.model.config.pattern, lengths)
