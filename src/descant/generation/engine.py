"""Requests to music: batches the windows that can share steps, and reports progress."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import Cancelled, InvalidRequest
from descant.generation.audio import render
from descant.generation.decode import DecodeJob, decode
from descant.generation.plan import Window
from descant.generation.request import Request
from descant.generation.resolve import ResolvedRequest, Resolver
from descant.generation.runtimes import runtime_for
from descant.generation.state import GenerationState
from descant.generation.stream import MusicStream
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


@dataclass(frozen=True, eq=False)
class WindowJob:
    """A window of a request, ready for the step loop."""

    state: GenerationState
    window: Window
    job: DecodeJob

    @property
    def lengths(self) -> tuple[int, int, int]:
        """What must be equal in a batch: the lengths of the prompt and of the conditions."""
        cross = 0 if self.job.inputs.cross is None else self.job.inputs.cross.shape[1]
        return self.job.prompt.shape[-1], cross, self.job.inputs.prefix_steps


class Engine:
    """Generates music with one model. It keeps nothing of a call, so threads may share it.

    Args:
        max_batch: the most requests that are decoded together; the others wait.
    """

    def __init__(self, model: MusicGenModel, max_batch: int = 8) -> None:
        self.model = model
        self.max_batch = max_batch
        self.runtime = runtime_for(model.lm)

    @own_settings()
    def generate(
        self,
        requests: Sequence[Request],
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[GeneratedMusic]:
        """The music of every request, in their order; each is the same as if it were generated alone (on a CPU, in
        float32 and bfloat16).

        Args:
            progress: called with the number of steps done and the number of all steps.
            cancel: called before each step and before each request is prepared; True stops everything.

        Raises:
            InvalidRequest: a request asks for something that this model cannot do; raised before the first step.
            Cancelled: ``cancel`` returned True.
        """
        # Later sections are prepared when the music gets there; the resolver has already checked their texts.
        resolver, states = Resolver(self.model), []
        for request in requests:
            _check_cancel(cancel)
            states.append(GenerationState(self.model, resolver.resolve(request)))
        total = sum(state.num_steps(window) for state in states for window in state.windows)
        done = 0
        for batch in self._batches(states, cancel):
            lengths = [member.state.num_steps(member.window) for member in batch]

            def on_step(step: int, before: int = done, lengths: list[int] = lengths) -> None:
                if progress is not None:
                    progress(before + sum(min(step, length) for length in lengths), total)

            jobs = [member.job for member in batch]
            generated = decode(self.runtime, self.model.config.pattern, jobs, on_step, cancel)
            for member, codes in zip(batch, generated, strict=True):
                member.state.append(codes, member.window)
            done += sum(lengths)
        return [
            GeneratedMusic(render(self.model.codec, state.codes, state.request), state.codes.cpu(), state.request)
            for state in states
        ]

    @own_settings()
    def stream(self, request: Request, *, chunk_s: float = 0.5) -> MusicStream:
        """The music of one request, chunk by chunk while it is generated, with the same codes as from ``generate``.

        Args:
            chunk_s: seconds of new frames in a chunk; the last one of a window, or before a change, may be shorter.

        Raises:
            InvalidRequest: as ``generate``; or the request is a loop, which is cut from the finished music.
        """
        if request.loop_bars is not None:
            raise InvalidRequest(
                "loop_bars: a loop is cut from the finished music and cannot be streamed; use generate"
            )
        return MusicStream(self.runtime, GenerationState(self.model, Resolver(self.model).resolve(request)), chunk_s)

    def _batches(self, states: list[GenerationState], cancel: Callable[[], bool] | None) -> Iterator[list[WindowJob]]:
        """Batches of windows that can share steps: the first window of every request before the second of any."""
        while waiting := list(_next_jobs(states, cancel)):
            groups: dict[tuple[int, int, int], list[WindowJob]] = {}
            for member in waiting:
                groups.setdefault(member.lengths, []).append(member)
            for group in groups.values():
                # Long ones first, so that the members of a batch end at about the same time.
                group.sort(key=lambda member: -member.window.num_frames)
                for start in range(0, len(group), self.max_batch):
                    yield group[start : start + self.max_batch]


def _next_jobs(states: list[GenerationState], cancel: Callable[[], bool] | None) -> Iterator[WindowJob]:
    """The next window of each request that is not complete. The caller must append its codes before the next call."""
    for state in states:
        if not state.is_complete:
            _check_cancel(cancel)
            window = state.next_window
            yield WindowJob(state, window, state.job(window))


def _check_cancel(cancel: Callable[[], bool] | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("stopped while the next steps were prepared")
