"""Requests to music: decodes their windows side by side, and reports progress."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from descant.devices import WeightFormat
from descant.errors import Cancelled, InvalidRequest
from descant.generation.audio import render
from descant.generation.decode import Decoder
from descant.generation.decode_job import Decoding
from descant.generation.plan import Window
from descant.generation.prepared import Preparer
from descant.generation.request import Request
from descant.generation.resolve import ResolvedRequest, Resolver
from descant.generation.runtimes import Runtime, runtime_for
from descant.generation.runtimes.native.weights import PackedMatrices
from descant.generation.state import GenerationState
from descant.generation.stream import MusicStream
from descant.generation.variants import Variant, Variants
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
            cancel: called before each step and before each request is prepared; True stops everything.

        Raises:
            InvalidRequest: a request asks for something that this model cannot do; raised before the first step.
            Cancelled: ``cancel`` returned True.
        """
        readers: dict[Variant, tuple[Resolver, Preparer]] = {}
        states, runtimes = [], []
        for request in requests:
            _check_cancel(cancel)
            variant = self._variants.of(request.mixture)
            if variant not in readers:
                readers[variant] = Resolver(variant.model), Preparer(variant.model)
            resolver, preparer = readers[variant]
            # Later sections are prepared when the music gets there; the resolver has already checked their texts.
            states.append(GenerationState(variant.model, resolver.resolve(request), preparer))
            runtimes.append(variant.runtime)
        total = sum(state.num_steps(window) for state in states for window in state.windows)
        for done in self._decode(zip(states, runtimes, strict=True), cancel):
            if progress is not None:
                progress(done, total)
        requests_read, codes = [state.request for state in states], [state.codes for state in states]
        waves = render(self.model.codec, codes, requests_read)
        return [
            GeneratedMusic(wave, of_request.cpu(), request)
            for wave, of_request, request in zip(waves, codes, requests_read, strict=True)
        ]

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
        variant = self._variants.of(request.mixture)
        resolver, preparer = Resolver(variant.model), Preparer(variant.model)
        state = GenerationState(variant.model, resolver.resolve(request), preparer)
        return MusicStream(variant.runtime, state, chunk_s, min(first_chunk_s, chunk_s))

    def _decode(
        self, works: Iterable[tuple[GenerationState, Runtime]], cancel: Callable[[], bool] | None
    ) -> Iterator[int]:
        """Completes the codes of all requests; gives the number of steps done after each.

        The next window of a request joins as soon as the one before is complete, and the next request as soon as there
        is room. Requests with the same adapters are decoded together.
        """
        waiting, running = deque(works), dict[Decoding, tuple[GenerationState, Runtime, Window]]()
        decoders: dict[Runtime, Decoder] = {}
        num_done = 0
        with ExitStack() as stack:
            while waiting or running:
                while waiting and len(running) < self.max_batch:
                    _check_cancel(cancel)
                    state, runtime = waiting.popleft()
                    if runtime not in decoders:
                        decoders[runtime] = stack.enter_context(Decoder(runtime, self.model.config.pattern))
                    window = state.next_window
                    running[decoders[runtime].join(state.job(window))] = (state, runtime, window)
                _check_cancel(cancel, "between two steps")
                for decoder in decoders.values():
                    for decoding in decoder.advance() if decoder.active else ():
                        state, runtime, window = running.pop(decoding)
                        state.append(decoder.codes(decoding), window)
                        num_done += decoding.num_steps
                        if not state.is_complete:
                            waiting.appendleft((state, runtime))
                yield num_done + sum(decoding.step for decoding in running)


def _check_cancel(cancel: Callable[[], bool] | None, when: str = "while the next steps were prepared") -> None:
    if cancel is not None and cancel():
        raise Cancelled(f"stopped {when}")
