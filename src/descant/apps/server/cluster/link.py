"""The server's end of a cluster: starts the replicas, gives them clips, and passes messages both ways."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from descant.apps.server.cluster.ray_serve import RayServe
from descant.apps.server.cluster.replica import ENDS, Place
from descant.apps.server.engine.messages import Message
from descant.apps.server.tasks import Tasks
from descant.errors import CheckpointError, ProcessLost

LOOK_EVERY_S = 1.0
"""For replicas that have come or gone."""
LOOKS = 30
"""So many in a row may fail, as they do while Ray starts a part of itself again; then the cluster is lost."""
DESCRIBING_S = 5.0

_log = logging.getLogger("descant.server")


@dataclass
class _Stream:
    """A clip that is being made; its place is None until a replica has accepted it."""

    task: "asyncio.Task[None]"
    place: Place | None = None


class ClusterLink:
    """As many engines as there are replicas. Its methods are those of `EngineLink`; all belong to the event loop.

    Args:
        on_message: gets every message.
        on_death: is called with the clips of a replica that has died; Ray Serve starts another.
    """

    def __init__(
        self,
        ray_serve: RayServe,
        on_message: Callable[[Message], None],
        on_death: Callable[[Collection[str]], None],
    ) -> None:
        self._ray_serve, self._on_message, self._on_death = ray_serve, on_message, on_death
        self._is_serving = False
        self._streams: dict[str, _Stream] = {}
        self._tasks = Tasks()
        self._placing = asyncio.Lock()
        self._is_stopping = False
        self._is_wanted, self._is_ending, self._is_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._is_wanted.set()
        self._spoke_at, self._num_failed_looks = time.monotonic(), 0
        self.num_engines = 0

    @property
    def silent_s(self) -> float:
        """Seconds since any of the engines has last said something."""
        return time.monotonic() - self._spoke_at

    def pid_of(self, clip_id: str) -> int | None:
        """The process, on its machine, that makes a clip; None if none does."""
        stream = self._streams.get(clip_id)
        return None if stream is None or stream.place is None else stream.place.pid

    def send(self, message: Message) -> None:
        """Sends a message. If the replica that it is for dies, ``on_death`` follows."""
        actions = {"make": self._make, "cancel": self._cancel, "change": self._change, "check": self._check}
        if not self._is_serving:
            return
        task = self._tasks.spawn(actions[message.kind](message))
        if message.kind == "make":
            self._streams[message.clip_id] = _Stream(task)

    async def run(self) -> None:
        """Keeps the replicas running until ``stop``.

        Raises:
            MissingExtra, InvalidRequest: there is no such cluster here.
            CheckpointError: the model cannot be loaded there.
            ProcessLost: the cluster has gone.
        """
        # In threads that live as long as the event loop: processes of a Ray that is started end with their thread.
        await asyncio.to_thread(self._ray_serve.join)
        try:
            while True:
                await self._is_wanted.wait()
                if self._is_stopping:
                    return
                await self._serve()
        finally:
            await asyncio.to_thread(self._ray_serve.leave)

    async def stop(self) -> None:
        """Ends the replicas for good; ``run`` returns when that is done."""
        self._is_stopping = True
        self._is_wanted.set()
        self._is_ending.set()
        self._end_streams()

    async def unload(self) -> None:
        """Ends the replicas until ``load``."""
        self._is_wanted.clear()
        self._is_ending.set()
        await self._is_ended.wait()

    def load(self) -> None:
        """Starts the replicas again."""
        self._is_wanted.set()

    async def _serve(self) -> None:
        """Has replicas as long as they are wanted."""
        self._is_ending.clear()
        self._is_ended.clear()
        try:
            await asyncio.to_thread(self._ray_serve.deploy)
            self._is_serving = True
            while not self._is_ending.is_set() and not self._is_stopping:
                await self._look()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._is_ending.wait(), LOOK_EVERY_S)
        finally:
            self._end_streams()
            await asyncio.to_thread(self._ray_serve.delete)
            self._is_ended.set()

    def _end_streams(self) -> None:
        self._is_serving, self.num_engines = False, 0
        self._streams.clear()
        self._tasks.cancel_all()

    async def _look(self) -> None:
        """Finds out how many replicas there are."""
        try:
            running, reason = await asyncio.to_thread(self._ray_serve.status)
        except ProcessLost as error:
            self._num_failed_looks += 1
            if self._num_failed_looks >= LOOKS:
                raise
            _log.warning("the cluster does not answer: %s", error)
            return
        self._num_failed_looks = 0
        if reason is not None and not running:
            raise CheckpointError(f"the cluster cannot run the engine: {reason}")
        if running > self.num_engines:
            try:
                # One that has just died may still be counted; it does not answer.
                ready = await asyncio.wait_for(self._ray_serve.describe(), DESCRIBING_S)
            except (asyncio.TimeoutError, ProcessLost):
                return
            self.num_engines = running
            self._receive(ready)
        elif running < self.num_engines:
            self.num_engines = running
            # A loss of clips is noticed by their streams, mostly before this.
            if not running:
                self._on_death(())

    def _receive(self, message: Message) -> None:
        self._spoke_at = time.monotonic()
        self._on_message(message)

    async def _make(self, message: Message) -> None:
        stream = self._streams[message.clip_id]
        batches = self._ray_serve.make(message)
        try:
            # One after the other: so Ray Serve knows how many clips each replica has when it chooses one.
            async with self._placing:
                stream.place = cast(Place, await anext(batches))
            async for batch in cast(AsyncIterator[list[Message]], batches):
                for one in batch:
                    if one.kind in ENDS:
                        self._streams.pop(message.clip_id, None)
                    self._receive(one)
        except ProcessLost as error:
            if self._streams.get(message.clip_id) is stream:
                _log.error("a replica has died: %s", error)
                self._lose(stream)

    def _lose(self, stream: _Stream) -> None:
        """The replica of a clip has died, and with it the other clips that it was making."""
        lost = {
            clip_id: one
            for clip_id, one in self._streams.items()
            if one is stream or (one.place is not None and one.place == stream.place)
        }
        for clip_id, one in lost.items():
            del self._streams[clip_id]
            if one is not stream:
                one.task.cancel()
        self.num_engines = max(0, self.num_engines - 1)
        self._on_death(lost)

    async def _cancel(self, message: Message) -> None:
        stream = self._streams.get(message.clip_id)
        if stream is not None and stream.place is None:
            del self._streams[message.clip_id]
            stream.task.cancel()
            self._receive(Message("stopped", message.clip_id, {"info": None}))
            return
        try:
            await self._ray_serve.tell(message)
        except ProcessLost as error:
            # If it was the one that makes the clip, the end of the stream says so as well.
            _log.warning("a replica was not told to cancel a clip: %s", error)

    async def _change(self, message: Message) -> None:
        question = message.fields["question"]
        too_late = {"question": question, "refusal": None, "too_late": "this clip is not being made"}
        with self._answering(question):
            answer = await self._ray_serve.tell(message)
            self._receive(answer or Message("answer", message.clip_id, too_late))

    async def _check(self, message: Message) -> None:
        with self._answering(message.fields["question"]):
            self._receive(await self._ray_serve.ask(message))

    @contextmanager
    def _answering(self, question: int) -> Iterator[None]:
        """A question remains unanswered if a replica dies in the block."""
        try:
            yield
        except ProcessLost as error:
            _log.warning("a replica has not answered: %s", error)
            self._receive(Message("unanswered", fields={"question": question}))
