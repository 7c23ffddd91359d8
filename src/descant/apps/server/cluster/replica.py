"""A replica: the engine in a thread of a process of Ray Serve, and the streams of the clips that it makes."""

import asyncio
import os
import queue
import threading
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4

from descant.apps.server.engine.messages import Message
from descant.apps.server.engine.program import Engine, Inbox
from descant.errors import CheckpointError

ENDS = ("done", "stopped", "failed")
"""The kinds of the last message of a clip, after which only its measures may follow."""
MEASURING_S = 60.0
"""No longer than this are the measures of a finished clip waited for."""


class Place(NamedTuple):
    """Where a clip is made: a replica, and its process on its machine."""

    replica: str
    pid: int


@dataclass
class _Clip:
    """A clip that is made here, and its messages that were not sent yet."""

    outbox: "asyncio.Queue[Message]" = field(default_factory=asyncio.Queue)
    is_ended: bool = False


class Replica:
    """An engine among several of the same kind. Its clips are lost with its process; the server then has them made by
    another.

    Args:
        engine: what works here.
        silence_s: how long an engine with work may say nothing.

    Raises:
        CheckpointError: the model cannot be loaded.
    """

    def __init__(self, engine: Engine, silence_s: float) -> None:
        self._place, self._silence_s = Place(uuid4().hex, os.getpid()), silence_s
        self._inbox: Inbox = queue.Queue()
        self._clips: dict[str, _Clip] = {}
        self._questions: dict[int, asyncio.Future[Message]] = {}
        self._spoke_at = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        loaded: queue.Queue[Message] = queue.Queue()
        threading.Thread(target=self._work, args=(engine, loaded), daemon=True).start()
        self._ready = loaded.get()
        if self._ready.kind == "unusable":
            raise CheckpointError(self._ready.fields["detail"])

    async def describe(self) -> Message:
        """The message ``ready`` of the engine, with the description of its model."""
        return self._ready

    async def make(self, message: Message) -> AsyncIterator[Place | list[Message]]:
        """Makes a clip. Gives its place first, then its messages as they come."""
        if not self._is_busy:
            self._spoke_at = time.monotonic()
        clip = self._clips[message.clip_id] = _Clip()
        self._put(message)
        try:
            yield self._place
            end: Message | None = None
            while end is None:
                batch = [await clip.outbox.get()]
                while not clip.outbox.empty():
                    batch.append(clip.outbox.get_nowait())
                end = next((one for one in batch if one.kind in ENDS), None)
                yield batch
            if message.fields["analyse"] and end.payloads and batch[-1].kind != "measured":
                yield [await asyncio.wait_for(clip.outbox.get(), MEASURING_S)]
        finally:
            del self._clips[message.clip_id]
            if not clip.is_ended:
                self._put(Message("cancel", message.clip_id))

    async def tell(self, message: Message) -> Message | None:
        """Passes on a message about a clip, and gives the answer to a question; None if it is not made here."""
        if message.clip_id not in self._clips:
            return None
        if message.kind == "change":
            return await self.ask(message)
        self._put(message)
        return message

    async def ask(self, message: Message) -> Message:
        """The answer of the engine to a question."""
        number = message.fields["question"]
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        self._put(message)
        try:
            return await answer
        finally:
            del self._questions[number]

    def check_health(self) -> None:
        """Ray Serve calls this now and then, and replaces a replica that raises.

        Raises:
            RuntimeError: the engine has work and is silent.
        """
        silent_s = time.monotonic() - self._spoke_at
        if self._is_busy and silent_s > self._silence_s:
            raise RuntimeError(f"the engine has said nothing for {silent_s:.0f} s")

    @property
    def _is_busy(self) -> bool:
        return any(not clip.is_ended for clip in self._clips.values())

    def _put(self, message: Message) -> None:
        """Gives the engine a message."""
        self._loop = asyncio.get_running_loop()
        self._inbox.put(message)

    def _work(self, engine: Engine, loaded: "queue.Queue[Message]") -> None:
        """Runs the engine in its thread; an error there ends the process, as it ends that of a local engine."""

        def send(message: Message) -> None:
            if message.kind in ("ready", "unusable"):
                loaded.put(message)
            elif self._loop is not None:
                with suppress(RuntimeError):  # the loop is closed where the process ends
                    self._loop.call_soon_threadsafe(self._sort, message)

        try:
            engine(self._inbox, send)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _sort(self, message: Message) -> None:
        """Puts a message of the engine where it is waited for."""
        self._spoke_at = time.monotonic()
        if message.kind == "alive":
            for clip_id, made_s in message.fields["made_s"].items():
                if clip_id in self._clips:
                    self._clips[clip_id].outbox.put_nowait(Message("alive", fields={"made_s": {clip_id: made_s}}))
        elif message.kind == "answer":
            answer = self._questions.get(message.fields["question"])
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif message.clip_id in self._clips:
            clip = self._clips[message.clip_id]
            clip.is_ended = clip.is_ended or message.kind in ENDS
            clip.outbox.put_nowait(message)
