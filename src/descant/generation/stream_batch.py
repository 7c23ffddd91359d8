"""Several requests streamed side by side: each joins and leaves between two steps, and gets the same music as alone.

As in `decode_threads`, weights that fit into the processor's cache are read by several threads, each of which makes
some of the music by itself.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float
from torch import Tensor

from descant.errors import CheckpointError, InvalidRequest
from descant.generation.audition import Audition
from descant.generation.decode import Decoder
from descant.generation.progressive import ProgressiveMusic, Waves
from descant.generation.readers import Readers, ReadRequest
from descant.generation.request import Request
from descant.generation.runtimes import Runtime
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
        joining: what runs from the next step on.
        decoders: one for each runtime.
        turn: the step that the thread is at, or whose result nobody has asked for yet. Until it ends, only ``joining``
            may be changed.
    """

    def __init__(self) -> None:
        self.running: dict[ProgressiveMusic, _Running] = {}
        self.joining: deque[_Running] = deque()
        self.decoders: dict[Runtime, Decoder] = {}
        self.turn: Future[list[Advance]] | None = None

    def advance(self) -> list[Advance]:
        """A step of everything, or several where that is quick and nothing is due meanwhile."""
        used = {running.decoder for running in self.running.values()}
        for decoder in self.decoders.values():
            if decoder.active and decoder not in used:
                decoder.leave_all()  # an error has left something
        while self.joining:
            joining = self.joining.popleft()
            self.running[joining.music] = joining
        broken: dict[Decoder, CheckpointError] = {}
        for decoder in self.decoders.values():
            if decoder.active:
                own = [running.num_missing for running in self.running.values() if running.decoder is decoder]
                try:
                    decoder.advance(most=min(own))
                except CheckpointError as error:  # of an adapter, perhaps: what is made without it goes on
                    broken[decoder] = error
                    decoder.leave_all()
        advances = [
            _failed(running, broken[running.decoder]) if running.decoder in broken else _advanced(running)
            for running in self.running.values()
        ]
        for one in advances:
            if one.is_done:
                del self.running[one.music]
        return [one for one in advances if one.waves or one.is_done]

    def pause(self) -> None:
        """Waits until the step has ended; its result, or its error, stays where it is."""
        if self.turn is not None:
            wait([self.turn])

    def decoder_for(self, runtime: Runtime, kept: Runtime, start: Callable[[], Decoder]) -> Decoder:
        """The decoder of a runtime, begun if there is none.

        The memory of other adapters with which nothing is being generated is freed then, since there may be any number
        of mixtures; that of ``kept`` stays.
        """
        if runtime not in self.decoders:
            self.pause()
            used = [running.decoder for running in (*self.running.values(), *self.joining)]
            self.decoders = {
                other: decoder for other, decoder in self.decoders.items() if other is kept or decoder in used
            }
            self.decoders[runtime] = start()
        return self.decoders[runtime]


class StreamBatch:
    """Music of several requests while it is generated. It belongs to one thread; ``close()`` frees all slots.

    Where several threads make it, each goes on with its next step while ``advance`` gives out what another has made.

    Args:
        lengths: of chunks in seconds: the usual, the first and the longest one, as in `ProgressiveMusic`.
    """

    def __init__(self, variants: Variants, pattern: Pattern, lengths: tuple[float, float, float]) -> None:
        self._variants, self._pattern, self._lengths = variants, pattern, lengths
        self._lanes = [_Lane()]
        self._lane_of: dict[ProgressiveMusic, _Lane] = {}
        """Of all music whose end was not given out."""
        self._threads: list[ThreadPoolExecutor] = []

    def __len__(self) -> int:
        return len(self._lane_of)

    @own_settings()
    def read(self, requests: Sequence[Request], auditions: Sequence[Audition | None]) -> list[ReadRequest]:
        """Requests ready for ``join``. This alone may be called by any thread, at any time: it may take long.

        Args:
            auditions: of each request; one judges its first seconds, and may end it early.

        Raises:
            InvalidRequest: one asks for something that this model cannot do.
        """
        readers = Readers(self._variants)
        return [readers.read(*one) for one in zip(requests, auditions, strict=True)]

    def add(self, request: Request, audition: Audition | None = None) -> ProgressiveMusic:
        """As ``read`` and ``join``, of one request."""
        return self.join(self.read([request], [audition])[0])

    @own_settings()
    def join(self, read: ReadRequest) -> ProgressiveMusic:
        """Begins the music of a request; it joins the others between two steps. Where there are threads, they begin."""
        variant = read.variant
        music = ProgressiveMusic(read.state, *self._lengths)
        num_lanes = variant.runtime.num_sessions()
        self._lanes += [_Lane() for _ in range(num_lanes - len(self._lanes))]
        lane = min(self._lanes[:num_lanes], key=[*self._lane_of.values()].count)
        start = partial(Decoder, variant.runtime, self._pattern, is_alone=num_lanes > 1)
        decoder = lane.decoder_for(variant.runtime, self._variants.runtime, start)
        lane.joining.append(_Running(music, decoder, music.waves(decoder)))
        self._lane_of[music] = lane
        if len(self._busy()) > 1:
            self._begin_turns()
        return music

    @own_settings()
    def advance(self) -> list[Advance]:
        """Draws some steps. Gives what is new of each piece of music, and of what is done or has failed the end."""
        if len(self._busy()) < 2 and not any(lane.turn for lane in self._lanes):
            made = [one for lane in self._busy() for one in lane.advance()]
        else:
            self._begin_turns()
            wait([lane.turn for lane in self._lanes if lane.turn is not None], return_when=FIRST_COMPLETED)
            made = self._ended_turns()
        new = [one for one in made if one.music in self._lane_of]
        for one in new:
            if one.is_done:
                del self._lane_of[one.music]
        if len(self._busy()) > 1:
            self._begin_turns()
        return new

    @own_settings()
    def revise(self, music: ProgressiveMusic, later: Sequence[tuple[float, str]]) -> None:
        """Replaces the prompts that have not begun (`ProgressiveMusic.revise`).

        Raises:
            InvalidRequest: a prompt begins within what is drawn already; all of the music may be.
        """
        lane = self._lane_of.get(music, _Lane())  # one without any music, if the end was given out
        lane.pause()
        running = {one.music: one for one in (*lane.running.values(), *lane.joining)}
        if music not in running:
            raise InvalidRequest("all of the music is drawn already")
        music.revise(later, running[music].decoder)

    @own_settings()
    def remove(self, music: ProgressiveMusic) -> None:
        """Ends music early; what was given out stays in its ``codes``. Nothing happens if it has ended."""
        lane = self._lane_of.pop(music, None)
        if lane is None:
            return
        lane.pause()
        for joining in [one for one in lane.joining if one.music is music]:
            lane.joining.remove(joining)
        if music in lane.running:
            lane.running.pop(music).waves.close()

    def close(self) -> None:
        """Ends all music and frees the memory and the threads that it is generated in."""
        for music in [*self._lane_of]:
            self.remove(music)
        for thread in self._threads:
            thread.shutdown()
        self._lanes, self._threads = [_Lane()], []

    def _busy(self) -> list[_Lane]:
        return [lane for lane in self._lanes if lane in self._lane_of.values()]

    def _begin_turns(self) -> None:
        """Lets every thread that has something to make, and is not at it, take a step."""
        self._threads += [
            one_thread_executor(f"descant-stream-{number}") for number in range(len(self._threads), len(self._lanes))
        ]
        busy = self._busy()
        for lane, thread in zip(self._lanes, self._threads, strict=False):
            if lane in busy and lane.turn is None:
                lane.turn = thread.submit(own_settings()(lane.advance))

    def _ended_turns(self) -> list[Advance]:
        made: list[Advance] = []
        for lane in self._lanes:
            if lane.turn is not None and lane.turn.done():
                turn, lane.turn = lane.turn, None
                made += turn.result()
        return made


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


def _failed(running: _Running, error: Exception) -> Advance:
    """Ends music whose decoder has failed."""
    running.waves.close()
    return Advance(running.music, [], is_done=True, error=error)
