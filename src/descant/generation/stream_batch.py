"""Several requests streamed side by side: each joins and leaves between two steps, and gets the same music as alone.

As in `decode_threads`, weights that fit into the processor's cache are read by several threads, each of which makes
some of the music by itself.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from descant.generation.audition import Audition
from descant.generation.decode import Decoder
from descant.generation.prepared import Preparer
from descant.generation.progressive import ProgressiveMusic, Waves
from descant.generation.request import Request
from descant.generation.resolve import Resolver
from descant.generation.runtimes import Runtime
from descant.generation.state import GenerationState
from descant.generation.variants import Variants
from descant.nn.settings import one_thread_executor, own_settings
from descant.patterns import Pattern


@dataclass(frozen=True, eq=False)
class Advance:
    """What a step has given of one piece of music.

    Args:
        error: what ended it early.
    """

    music: ProgressiveMusic
    waves: list[Float[Tensor, "C _"]]
    is_done: bool = False
    error: Exception | None = None


@dataclass(eq=False)
class _Running:
    music: ProgressiveMusic
    decoder: Decoder
    waves: Waves = field(repr=False)
    num_missing: int = 1
    """At least so many more steps are needed until there is something new."""


class _Lane:
    """What one thread makes.

    Attributes:
        running: by music, in the order of joining.
        decoders: one for each runtime.
    """

    def __init__(self) -> None:
        self.running: dict[ProgressiveMusic, _Running] = {}
        self.decoders: dict[Runtime, Decoder] = {}

    def advance(self) -> list[Advance]:
        """A step of everything, or several where that is quick and nothing is due meanwhile."""
        for decoder in self.decoders.values():
            if decoder.active:
                own = [running.num_missing for running in self.running.values() if running.decoder is decoder]
                decoder.advance(most=min(own))
        advances = [_advanced(running) for running in self.running.values()]
        for one in advances:
            if one.is_done:
                del self.running[one.music]
        return [one for one in advances if one.waves or one.is_done]

    def drop_idle(self, kept: Runtime) -> None:
        """Frees the memory of adapters with which nothing is being generated; there may be any number of mixtures."""
        used = [running.decoder for running in self.running.values()]
        self.decoders = {
            runtime: decoder for runtime, decoder in self.decoders.items() if runtime is kept or decoder in used
        }


class StreamBatch:
    """Music of several requests while it is generated. It belongs to one thread; ``close()`` frees all slots.

    Args:
        lengths: of chunks in seconds: the usual, the first and the longest one, as in `ProgressiveMusic`.
    """

    def __init__(self, variants: Variants, pattern: Pattern, lengths: tuple[float, float, float]) -> None:
        self._variants, self._pattern, self._lengths = variants, pattern, lengths
        self._lanes = [_Lane()]
        self._threads: list[ThreadPoolExecutor] = []

    def __len__(self) -> int:
        return sum(len(lane.running) for lane in self._lanes)

    @own_settings()
    def add(self, request: Request, audition: Audition | None = None) -> ProgressiveMusic:
        """Begins the music of a request; it joins the others with the next step.

        Args:
            audition: judges its first seconds, and may end it early.

        Raises:
            InvalidRequest: it asks for something that this model cannot do.
        """
        variant = self._variants.of(request.mixture)
        resolved = Resolver(variant.model).resolve(request)
        state = GenerationState(variant.model, resolved, Preparer(variant.model), audition)
        music = ProgressiveMusic(state, *self._lengths)
        num_lanes = variant.runtime.num_sessions()
        self._lanes += [_Lane() for _ in range(num_lanes - len(self._lanes))]
        lane = min(self._lanes[:num_lanes], key=lambda lane: len(lane.running))
        if variant.runtime not in lane.decoders:
            lane.drop_idle(self._variants.runtime)
            lane.decoders[variant.runtime] = Decoder(variant.runtime, self._pattern, is_alone=num_lanes > 1)
        decoder = lane.decoders[variant.runtime]
        lane.running[music] = _Running(music, decoder, music.waves(decoder))
        return music

    @own_settings()
    def advance(self) -> list[Advance]:
        """Draws some steps of everything. Gives what is new of each, and of what is done or has failed the end.

        Raises:
            CheckpointError: the model gave values that are not finite; nothing can go on.
        """
        lanes = [lane for lane in self._lanes if lane.running]
        if len(lanes) < 2:
            return [one for lane in lanes for one in lane.advance()]
        self._threads += [
            one_thread_executor(f"descant-stream-{number}") for number in range(len(self._threads), len(lanes))
        ]
        rounds = _Rounds(len(lanes))
        advance = own_settings()(rounds.advance)
        made = [thread.submit(advance, lane) for thread, lane in zip(self._threads, lanes, strict=False)]
        wait(made)
        return [one for of_lane in made for one in of_lane.result()]

    @own_settings()
    def revise(self, music: ProgressiveMusic, later: Sequence[tuple[float, str]]) -> None:
        """Replaces the prompts that have not begun (`ProgressiveMusic.revise`)."""
        music.revise(later, self._lane_of(music).running[music].decoder)

    @own_settings()
    def remove(self, music: ProgressiveMusic) -> None:
        """Ends music early; what was given out stays in its ``codes``. Nothing happens if it has ended."""
        for lane in self._lanes:
            if music in lane.running:
                lane.running.pop(music).waves.close()

    def close(self) -> None:
        """Ends all music and frees the memory and the threads that it is generated in."""
        for lane in self._lanes:
            for music in list(lane.running):
                self.remove(music)
        for thread in self._threads:
            thread.shutdown()
        self._lanes, self._threads = [_Lane()], []

    def _lane_of(self, music: ProgressiveMusic) -> _Lane:
        return next(lane for lane in self._lanes if music in lane.running)


class _Rounds:
    """Lanes that advance at the same time. One that is early goes on until all have advanced, so that none waits."""

    def __init__(self, num_lanes: int) -> None:
        self._num_missing, self._lock = num_lanes, threading.Lock()

    def advance(self, lane: _Lane) -> list[Advance]:
        """Advances a lane once or more."""
        try:
            advances = lane.advance()
        finally:
            with self._lock:
                self._num_missing -= 1
        while self._num_missing and lane.running:
            advances += lane.advance()
        return advances


def _advanced(running: _Running) -> Advance:
    """Runs music up to where it needs the next step, or to where its audition ends it."""
    given: list[Float[Tensor, "C _"]] = []
    try:
        if running.music.is_over:
            running.waves.close()
            return Advance(running.music, given, is_done=True)
        for wave in running.waves:
            if isinstance(wave, int):
                running.num_missing = wave
                return Advance(running.music, given)
            given.append(wave)
    except Exception as error:
        return Advance(running.music, given, is_done=True, error=error)
    return Advance(running.music, given, is_done=True)
