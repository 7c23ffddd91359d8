"""The engine's process and the server's end of it: what fails for one clip, or while it ends, reaches no other."""

import asyncio
import io
import os
import queue
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch

import descant
from descant import best_of
from descant.adapters import Adapter
from descant.apps.server.engine.adapters import AdapterShelf
from descant.apps.server.engine.link import EngineLink
from descant.apps.server.engine.messages import Message
from descant.apps.server.engine.worker import Worker
from descant.apps.server.schemas import JobRequest
from descant.audio import Clip
from descant.best_of import Choice
from descant.checkpoints.adapters import NAMES
from descant.checkpoints.codes import load_codes
from descant.checkpoints.untrained import save_untrained
from descant.conditioning.chroma import MelodyConfig
from descant.generation import conditions
from descant.generation.request import Request
from descant.generation.stream_batch import Advance
from descant.generation.variants import MAX_KEPT
from descant.presets import tiny
from tests.apps.server.conftest import wait_for

ENDS_SLOWLY = "import sys, time; sys.stdin.read(); time.sleep(0.5)"
NEVER_ENDS = "import time; time.sleep(600)"


@pytest.fixture(scope="module")
def model() -> descant.MusicGen:
    return descant.load("tiny", device="cpu", precision="fp32")


class Engine:
    """A worker in this process, which stops once so many clips have ended."""

    def __init__(self, model: descant.MusicGen, folder, num_clips: int) -> None:
        self.sent: list[Message] = []
        self._inbox: queue.Queue[Message | None] = queue.Queue()
        self._num_left = num_clips
        self.worker = Worker(model, folder, self._inbox, self._send)

    def ask(self, clip_id: str, sent: dict[str, Clip] | None = None, **fields) -> None:
        asked = JobRequest(text="bells, 240 bpm", seed=5, analyse=False, **fields).model_dump()
        asked |= {"sampling": {}, "guidance": {}}
        sources = {name: {"start_s": 0.0, "end_s": None} for name in sent or {}}
        files = {name: clip.to_bytes("wav") for name, clip in (sent or {}).items()}
        self._inbox.put(Message("make", clip_id, {"request": asked, "sources": sources, "analyse": False}, files))

    def ends(self) -> dict[str, str]:
        """How each clip has ended."""
        return {one.clip_id: one.kind for one in self.sent if one.kind in ("done", "failed")}

    def codes(self, clip_id: str, file: Path) -> torch.Tensor:
        """The codes of a clip that is done, by way of this file."""
        done = next(one for one in self.sent if (one.kind, one.clip_id) == ("done", clip_id))
        file.write_bytes(done.payloads["codes"])
        return load_codes(file)[0]

    def _send(self, message: Message) -> None:
        self.sent.append(message)
        if message.kind in ("done", "failed"):
            self._num_left -= 1
            if not self._num_left:
                self._inbox.put(None)


def test_candidates_that_fail_in_the_same_step_end_their_clip_and_no_other(model, tmp_path, monkeypatch):
    """The second one's end was once looked up in vain, and the engine died with everybody's clips."""
    engine = Engine(model, tmp_path, num_clips=2)
    worker, batch = engine.worker, engine.worker._batch
    advance, remove = batch.advance, batch.remove

    def failing() -> list[Advance]:
        doomed = [music for music, clip_id in worker._ids.items() if clip_id == "choice"]
        others = [one for one in advance() if one.music not in doomed]
        return [*(Advance(music, [], is_done=True, error=RuntimeError("broken")) for music in doomed), *others]

    def raising(music) -> None:
        remove(music)
        raise RuntimeError("cannot end properly")

    monkeypatch.setattr(batch, "advance", failing)
    monkeypatch.setattr(batch, "remove", raising)
    engine.ask("choice", loop={"bars": 1}, best_of=3)
    engine.ask("other", duration_s=0.4)
    worker.run()
    assert engine.ends() == {"choice": "failed", "other": "done"}
    assert not worker._works
    assert not worker._ids


def test_the_engine_speaks_while_it_chooses_and_holds_candidates_once(model, tmp_path, monkeypatch):
    """It was once silent meanwhile, and would have been taken for dead."""
    engine = Engine(model, tmp_path, num_clips=1)

    def slow(choice: Choice):
        clips = list(choice._clips.values())
        before = len(engine.sent)
        wait_for(lambda: len(engine.sent) >= before + 2)
        (chosen,) = engine.worker._works.values()
        held = [chosen.held[music] for music in chosen.musics]
        ends = [(waves[0].data_ptr(), sum(wave.shape[1] for wave in waves)) for waves in held]
        assert ends == [(clip.samples.data_ptr(), len(clip)) for clip in clips]
        return replace(clips[1], info={**clips[1].info, "best_of": 2})

    monkeypatch.setattr(Choice, "best", slow)
    engine.ask("choice", duration_s=2.4, best_of=2)
    engine.worker.run()
    assert engine.ends() == {"choice": "done"}


def test_the_engine_speaks_and_goes_on_while_it_prepares_a_choice(model, tmp_path, monkeypatch):
    """librosa is compiled at its first import, which takes a minute on a slow machine. The engine was silent meanwhile,
    was taken for dead and started again, three times; then the job had failed.
    """
    engine = Engine(model, tmp_path, num_clips=2)
    target = best_of._target

    def compiling(request: Request):
        alive = len([one for one in engine.sent if one.kind == "alive"])
        wait_for(lambda: "other" in engine.ends() and sum(one.kind == "alive" for one in engine.sent) >= alive + 2)
        return target(request)

    monkeypatch.setattr(best_of, "_target", compiling)
    engine.ask("choice", duration_s=2.4, best_of=2)
    engine.ask("other", duration_s=0.4)
    engine.worker.run()
    assert engine.ends() == {"choice": "done", "other": "done"}


def test_music_goes_on_while_the_melody_of_another_clip_is_separated(tmp_path, monkeypatch):
    """Melodies were separated between two steps: a long file once stalled everybody's streams."""
    base = tiny()
    transformer = replace(base.lm.transformer, has_cross_attention=False)
    melody = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=11)
    save_untrained(replace(base, lm=replace(base.lm, transformer=transformer), melody=melody), tmp_path / "melody")
    model = descant.load(tmp_path / "melody", device="cpu", precision="fp32")
    engine = Engine(model, tmp_path, num_clips=2)
    separate = conditions.melodic_part

    def slow(clip: Clip, separation: str) -> tuple[Clip, str]:
        wait_for(lambda: engine.ends() == {"other": "done"})
        return separate(clip, separation)

    monkeypatch.setattr(conditions, "melodic_part", slow)
    tune = Clip(torch.sin(torch.arange(32_000) * 0.1)[None], 32_000)
    engine.ask("follows", duration_s=0.4, melody={"upload_id": "x"}, melody_part="mix", sent={"melody": tune})
    engine.ask("other", duration_s=0.4)
    engine.worker.run()
    assert engine.ends() == {"follows": "done", "other": "done"}
    monkeypatch.undo()
    heard = Clip.read(io.BytesIO(tune.to_bytes("wav")))
    alone = model.generate("bells, 240 bpm", seed=5, duration_s=0.4, melody=heard, melody_part="mix")
    assert torch.equal(engine.codes("follows", tmp_path / "codes.safetensors"), alone.codes)


def test_a_clip_that_is_cancelled_while_it_is_prepared_is_not_made(model, tmp_path, monkeypatch):
    engine = Engine(model, tmp_path, num_clips=1)
    target = best_of._target
    # The target is read twice: for the check of the request, and for its candidates' judge.
    ask_once = cache(partial(engine.ask, "other", duration_s=0.4))

    def compiling(request: Request):
        wait_for(lambda: any(one.kind == "stopped" for one in engine.sent))
        ask_once()
        return target(request)

    monkeypatch.setattr(best_of, "_target", compiling)
    engine.ask("choice", duration_s=2.4, best_of=2)
    engine._inbox.put(Message("cancel", "choice"))
    engine.worker.run()
    assert [(one.kind, one.clip_id) for one in engine.sent if one.kind in ("begun", "stopped", "done", "failed")] == [
        ("stopped", "choice"), ("begun", "other"), ("done", "other"),
    ]  # fmt: skip


def test_sections_that_change_while_a_clip_is_prepared_are_changed_when_it_begins(model, tmp_path, monkeypatch):
    engine = Engine(model, tmp_path, num_clips=1)
    request_of = engine.worker._request
    is_asked = threading.Event()

    def slow(message: Message) -> Request:
        is_asked.wait(30)
        return request_of(message)

    monkeypatch.setattr(engine.worker, "_request", slow)
    engine.ask("clip", duration_s=2.4)
    later = [{"start_s": 1.5, "text": "flute"}]
    engine._inbox.put(Message("change", "clip", {"question": 1, "sections": later}))
    wait_for_change = engine.worker._change
    monkeypatch.setattr(engine.worker, "_change", lambda message: (wait_for_change(message), is_asked.set()))
    engine.worker.run()
    answer = next(one for one in engine.sent if one.kind == "answer")
    assert (answer.fields["too_late"], answer.fields["sections"]) == (None, later)


def test_adapters_are_kept_that_were_used_last_and_none_that_is_gone(model, tmp_path, monkeypatch):
    names = [f"a{number}" for number in range(MAX_KEPT + 2)]
    for name in names:
        (tmp_path / name).mkdir()
        for file in NAMES:
            (tmp_path / name / file).write_text("{}")
    read: list[str] = []

    def load(path) -> Adapter:
        read.append(path.name)
        return Adapter({})

    monkeypatch.setattr(model, "load_adapter", load)
    shelf = AdapterShelf(tmp_path, model)
    for name in [*names[:MAX_KEPT], names[0], *names[MAX_KEPT:]]:
        shelf.named(name)
    assert read == names
    assert list(shelf._read) == [*names[3:MAX_KEPT], names[0], *names[MAX_KEPT:]]
    shutil.rmtree(tmp_path / names[0])
    shelf.named(names[-1])
    assert names[0] not in shelf._read


def linked(code: str, story: Callable[[EngineLink, "asyncio.Task[None]"], Awaitable[None]]) -> int:
    """Runs a story with a link to a process of this code; gives how often it was taken for crashed."""
    deaths: list[float] = []

    async def run() -> None:
        link = EngineLink((sys.executable, "-c", code), 20.0, lambda _: None, lambda _: deaths.append(0.0))
        running = asyncio.create_task(link.run())
        await story(link, running)
        await link.stop()
        await asyncio.wait_for(running, 60)

    asyncio.run(run())
    return len(deaths)


def test_ctrl_c_in_a_terminal_does_not_reach_the_engine():
    """An engine that was still importing printed a traceback, and was started again."""

    async def story(link: EngineLink, running: "asyncio.Task[None]") -> None:
        del running
        while link.pid is None:
            await asyncio.sleep(0.01)
        assert os.getsid(link.pid) != os.getsid(0)

    assert linked(ENDS_SLOWLY, story) == 0


def test_an_engine_that_was_asked_to_end_has_not_crashed_even_if_the_next_is_wanted_before():
    async def story(link: EngineLink, running: "asyncio.Task[None]") -> None:
        while link.pid is None:
            await asyncio.sleep(0.01)
        first = link.pid
        unloading = asyncio.create_task(link.unload())
        await asyncio.sleep(0.05)
        link.load()
        await unloading
        while link.pid in (None, first):
            assert not running.done()
            await asyncio.sleep(0.01)

    assert linked(ENDS_SLOWLY, story) == 0


def test_a_server_that_stops_while_its_engine_is_being_started_ends():
    async def story(link: EngineLink, running: "asyncio.Task[None]") -> None:
        del running
        await asyncio.sleep(0)
        assert link.pid is None

    assert linked(NEVER_ENDS, story) == 0
