"""Events: what happens, for every listener that may know it."""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

RING = 2_000
"""Events that a listener who was away can still get."""
PING_S = 15.0
ENDS = ("job.succeeded", "job.failed", "job.cancelled")
ListName: TypeAlias = Literal["collections", "presets", "uploads", "listening-tests"]
"""A list of the protocol that is read again as a whole; jobs and clips have events of their own."""


@dataclass(frozen=True)
class Event:
    """Something that has happened.

    Args:
        owner: who may know it; None for everyone.
        job_id: the job that it is about, if it is about one.
    """

    number: int
    kind: str
    data: dict[str, Any]
    owner: str | None
    job_id: str | None


class Hub:
    """Hands events to listeners. They wait for the ring to grow, so that one that does not read costs nothing."""

    def __init__(self) -> None:
        self.boot = secrets.token_hex(4)
        self._ring: deque[Event] = deque(maxlen=RING)
        self._number = 0
        self._grown = asyncio.Event()
        self._is_closed = False
        self.listeners = 0

    def publish(self, kind: str, data: dict[str, Any], owner: str | None = None, job_id: str | None = None) -> None:
        """Adds an event."""
        self._number += 1
        self._ring.append(Event(self._number, kind, data, owner, job_id))
        self._wake()

    def publish_list(self, name: ListName, owner: str) -> None:
        """Says that something was added to a list of the owner, changed in it or removed from it."""
        self.publish("list.changed", {"list": name}, owner)

    def close(self) -> None:
        """Ends every stream of events once it has the last one: servers would wait for them for ever."""
        self._is_closed = True
        self._wake()

    async def stream(self, owner: str, last_id: str | None, job_id: str | None = None) -> AsyncIterator[str]:
        """The events of an owner as Server-Sent Events, from now on or from after ``last_id``.

        Args:
            job_id: only those of this job, up to its end.
        """
        self.listeners += 1
        try:
            number = self._number
            yield ": hello\n\n"
            if last_id is not None:
                known = self._number_of(last_id)
                if known is None:
                    yield self._text(Event(number, "resync", {}, None, None))
                else:
                    number = known
            while True:
                grown = self._grown
                if self._ring and number + 1 < self._ring[0].number:
                    number = self._number
                    yield self._text(Event(number, "resync", {}, None, None))
                for event in self._after(number):
                    number = event.number
                    if event.owner in (None, owner) and job_id in (None, event.job_id):
                        yield self._text(event)
                        if job_id is not None and event.kind in ENDS:
                            return
                if self._is_closed:
                    return
                if number == self._number:
                    try:
                        await asyncio.wait_for(grown.wait(), PING_S)
                    except asyncio.TimeoutError:
                        yield ": still here\n\n"
        finally:
            self.listeners -= 1

    def is_end_untold(self, last_id: str, job_id: str) -> bool:
        """Whether a job has ended after the event with this id, and all since then can still be told."""
        number = self._number_of(last_id)
        return number is not None and any(
            event.number > number and event.job_id == job_id and event.kind in ENDS for event in self._ring
        )

    def _after(self, number: int) -> list[Event]:
        """The events after the one with this number; they are numbered without gaps."""
        known = number + 1 - self._ring[0].number if self._ring else 0
        return list(islice(self._ring, max(0, known), None))

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    def _number_of(self, last_id: str) -> int | None:
        """The number of the event with this id, if all that followed it are still here."""
        boot, _, digits = last_id.partition("-")
        if boot != self.boot or not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
            return None
        number = int(digits)
        oldest = self._ring[0].number if self._ring else self._number + 1
        return number if oldest - 1 <= number <= self._number else None

    def _text(self, event: Event) -> str:
        data = json.dumps(event.data, ensure_ascii=False, allow_nan=False)
        return f"id: {self.boot}-{event.number}\nevent: {event.kind}\ndata: {data}\n\n"
