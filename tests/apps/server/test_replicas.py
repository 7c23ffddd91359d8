"""Replicas and the server's link to them, without Ray: which clips a death takes along, and what a replica answers."""

import asyncio
import socket
import sys
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from descant.apps.cli.main import main
from descant.apps.server.cluster.link import ClusterLink
from descant.apps.server.cluster.ray_serve import RayServe, application_name, share_of
from descant.apps.server.cluster.replica import ENDS, Place, Replica
from descant.apps.server.config import ClusterConfig, Limits
from descant.apps.server.engine.messages import Message
from descant.errors import CheckpointError, InvalidRequest, ProcessLost
from tests.apps.server.paced_engine import MODEL, RATE_HZ, pcm_of, play

READY = Message("ready", fields=MODEL)


class Replicas(RayServe):
    """Without Ray: places for two clips in each of two replicas that run until they are ended."""

    def __init__(self) -> None:
        self.alive = {"a": asyncio.Event(), "b": asyncio.Event()}
        self.load = {"a": 0, "b": 0}
        self.told: list[str] = []
        self.reason: str | None = None

    def join(self) -> None: ...
    def deploy(self) -> None: ...
    def delete(self) -> None: ...
    def leave(self) -> None: ...

    def status(self) -> tuple[int, str | None]:
        return sum(not ended.is_set() for ended in self.alive.values()), self.reason

    async def describe(self) -> Message:
        return READY

    async def make(self, _: Message) -> AsyncIterator[Place | list[Message]]:
        while not (free := [name for name, load in self.load.items() if load < 2 and not self.alive[name].is_set()]):
            await asyncio.sleep(0.01)
        name = min(free, key=lambda one: self.load[one])
        self.load[name] += 1
        yield Place(name, ord(name))
        await self.alive[name].wait()
        raise ProcessLost("it has died")

    async def tell(self, message: Message) -> None:
        self.told.append(message.clip_id)

    async def ask(self, _: Message) -> Message:
        raise ProcessLost("it has died")


class Story:
    """A link to these replicas, and what it has said."""

    def __init__(self) -> None:
        self.replicas = Replicas()
        self.messages: list[Message] = []
        self.deaths: list[set[str]] = []
        self.link = ClusterLink(self.replicas, self.messages.append, lambda ids: self.deaths.append(set(ids)))

    async def until(self, is_true: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not is_true():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def told(story: Callable[[Story], Coroutine[Any, Any, None]]) -> Story:
    """A story from the start of its replicas to their end."""

    async def run() -> Story:
        one = Story()
        running = asyncio.create_task(one.link.run())
        await one.until(lambda: one.link.num_engines == 2 or running.done())
        if not running.done():
            await story(one)
        await one.link.stop()
        await asyncio.wait_for(running, 10)
        return one

    return asyncio.run(run())


def test_a_death_takes_along_all_clips_of_its_replica_and_no_others():
    async def story(one: Story) -> None:
        for id in "1234":
            one.link.send(Message("make", id))
        await one.until(lambda: all(one.link.pid_of(id) for id in "1234"))
        places = {id: one.link.pid_of(id) for id in "1234"}
        one.replicas.alive["a"].set()
        await one.until(lambda: one.deaths)
        await asyncio.sleep(0.05)
        lost = {id for id, pid in places.items() if pid == ord("a")}
        assert len(lost) == 2
        assert one.deaths == [lost]
        assert {id for id in "1234" if one.link.pid_of(id)} == set("1234") - lost
        assert one.link.num_engines == 1

    told(story)


def test_a_clip_that_no_replica_has_accepted_is_cancelled_at_once():
    async def story(one: Story) -> None:
        for id in "12345":
            one.link.send(Message("make", id))
        await one.until(lambda: all(one.link.pid_of(id) for id in "1234"))
        for id in "15":
            one.link.send(Message("cancel", id))
        await one.until(lambda: one.messages[-1].kind == "stopped")
        assert one.messages[-1].clip_id == "5"
        assert one.replicas.told == ["1"]

    told(story)


def test_a_question_to_a_replica_that_dies_is_unanswered_and_a_clip_that_is_not_made_cannot_be_changed():
    async def story(one: Story) -> None:
        one.link.send(Message("check", fields={"question": 7}))
        one.link.send(Message("change", "gone", {"question": 8, "sections": []}))
        await one.until(lambda: len(one.messages) == 3)

    answers = {one.fields["question"]: one for one in told(story).messages[1:]}
    assert answers[7].kind == "unanswered"
    assert answers[8].fields["too_late"] == "this clip is not being made"


def test_replicas_that_cannot_start_end_the_server_with_the_reason():
    async def run() -> None:
        one = Story()
        one.replicas.reason = "no model there"
        for ended in one.replicas.alive.values():
            ended.set()
        with pytest.raises(CheckpointError, match="no model there"):
            await one.link.run()

    asyncio.run(run())


def message(clip_id: str, **also: Any) -> Message:
    request = {
        "text": "x",
        "duration_s": 1.0,
        "seed": 3,
        "sections": [],
        "negative_text": None,
        "chords": "none",
        **also,
    }
    return Message("make", clip_id, {"request": request, "attempt": 1, "analyse": True})


def in_replica(story: Callable[[Replica], Coroutine[Any, Any, None]], silence_s: float = 20.0) -> None:
    engine = partial(play, pace=20.0, chunk_s=0.2, load_s=0.0)
    replica = Replica(engine, silence_s)
    asyncio.run(story(replica))
    replica._inbox.put(None)


def test_a_replica_gives_place_audio_end_and_measures_in_this_order():
    async def story(replica: Replica) -> None:
        place, *batches = [one async for one in replica.make(message("1"))]
        messages = [one for batch in batches for one in batch]
        kinds = [one.kind for one in messages if one.kind != "alive"]
        assert isinstance(place, Place)
        assert kinds == ["begun", *["audio"] * (len(kinds) - 3), "done", "measured"]
        assert b"".join(one.payloads["pcm"] for one in messages if one.kind == "audio") == pcm_of(3, [], RATE_HZ)

    in_replica(story)


def test_a_replica_answers_for_its_own_clips_and_ends_those_that_nobody_listens_to():
    async def story(replica: Replica) -> None:
        assert await replica.tell(Message("cancel", "other")) is None
        stream = replica.make(message("1", duration_s=60.0))
        await anext(stream)
        section = {"start_s": 50.0, "text": "later"}
        answer = await replica.tell(Message("change", "1", {"question": 5, "sections": [section]}))
        assert answer is not None
        assert answer.fields["sections"] == [section]
        assert await replica.tell(Message("cancel", "1")) is not None
        assert [one.kind async for batch in stream for one in batch if one.kind in ENDS] == ["stopped"]
        left = replica.make(message("2", duration_s=60.0))
        await anext(left)
        await left.aclose()
        replica._clips.clear()
        refusal = await replica.ask(Message("check", fields={"question": 6, "request": message("3").fields["request"]}))
        assert refusal.fields["refusal"] is None

    in_replica(story)


def test_a_replica_with_a_silent_engine_is_unhealthy_and_an_idle_one_is_not():
    async def story(replica: Replica) -> None:
        await asyncio.sleep(0.3)
        replica.check_health()
        stream = replica.make(message("1", text="[hang 0.2]"))
        await anext(stream)
        replica.check_health()
        await asyncio.sleep(0.6)
        with pytest.raises(RuntimeError, match="said nothing"):
            replica.check_health()
        await stream.aclose()

    in_replica(story, silence_s=0.2)


def test_a_replica_that_cannot_load_its_model_says_why():
    with pytest.raises(CheckpointError, match="no such model"):
        Replica(lambda _, send: send(Message("unusable", fields={"detail": "no such model"})), 20.0)


@pytest.mark.parametrize(
    ("cpus", "replicas", "share"),
    [([2], 1, 2), ([2], 2, 1), ([8, 8], 3, 4), ([8, 8, 8], 2, 8), ([16, 4], 3, 5), ([1], 4, 1), ([], 2, 1)],
)
def test_all_replicas_fit_with_their_share_of_the_processors(cpus, replicas, share):
    assert share_of(cpus, replicas) == share


def test_a_server_finds_its_replicas_again_by_a_name_of_its_own(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert application_name(tmp_path / "one") == application_name(tmp_path / "one")
    assert application_name(tmp_path / "one") != application_name(tmp_path / "two")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--replicas", "2"), "--replicas 2: needs --cluster"),
        (("--cluster", "local", "--device", "cuda:1"), "--device cuda:1: Ray chooses"),
        (("--cluster", "ray://head:10001"), "ray:// cannot be used"),
        (("--cluster", "auto"), 'pip install "descant[cluster]"'),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused_before_anything_is_served(
    words, part, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["serve", "--data", str(tmp_path), "--model", "tiny", *words]) == 2
    assert part in capsys.readouterr().err


def test_an_address_at_which_nothing_answers_is_refused_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.serve", types.ModuleType("ray.serve"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    replicas = RayServe(ClusterConfig(address=address, replicas=1, engine=play), "x", Limits())
    with pytest.raises(InvalidRequest, match=f"--cluster {address}: nothing answers there"):
        replicas.join()
