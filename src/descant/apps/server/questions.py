"""Questions to the engine, and the answers that are waited for."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, TypeAlias

from descant.apps.server.engine.messages import Message
from descant.apps.server.problems import later, of_library, of_refusal
from descant.errors import InvalidRequest

CHANGE_TIMEOUT_S = 10.0

Answer: TypeAlias = "asyncio.Future[Message | None]"
"""None if the engine dies before it answers."""


class Questions:
    """What was asked and is not answered yet. It belongs to the event loop."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._open: dict[int, Answer] = {}
        self._numbers = count()

    def check(self, request: Mapping[str, Any], sources: Mapping[str, Any], payloads: Mapping[str, bytes]) -> Answer:
        """Asks an engine that is there whether the model would refuse a request."""
        return self._ask(Message("check", fields={"request": request, "sources": sources}, payloads=payloads))

    async def change(self, clip_id: str, sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Asks the engine to change the sections of a clip; gives those that apply now.

        Raises:
            Problem: the music has passed one of them, or the engine does not answer.
        """
        question = self._ask(Message("change", clip_id, {"sections": sections}))
        answer = await self.answered(question, CHANGE_TIMEOUT_S)
        if answer is None:
            raise later("engine-busy", "the engine does not answer; try again", 5)
        if answer.fields["too_late"] is not None:
            raise of_library(InvalidRequest(answer.fields["too_late"]), "too-late")
        return list(answer.fields["sections"])

    async def answered(self, answer: Answer, seconds: float) -> Message | None:
        """The answer to a question; None if the engine dies, or does not answer within so many seconds.

        Raises:
            Problem: the engine refuses.
        """
        try:
            message = await asyncio.wait_for(asyncio.shield(answer), seconds)
        except asyncio.TimeoutError:
            return None
        if message is not None and message.fields["refusal"] is not None:
            raise of_refusal(message.fields["refusal"])
        return message

    def on_answer(self, message: Message) -> None:
        """Hands an answer to whoever waits for it."""
        answer = self._open.pop(message.fields["question"], None)
        if answer is not None:
            answer.set_result(message)

    def drop(self, question: int) -> None:
        """A question will not be answered."""
        answer = self._open.pop(question, None)
        if answer is not None:
            answer.set_result(None)

    def on_death(self) -> None:
        """Nothing that was asked will be answered."""
        for answer in self._open.values():
            answer.set_result(None)
        self._open.clear()

    def _ask(self, question: Message) -> Answer:
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        self._send(replace(question, fields={**question.fields, "question": number}))
        return answer
