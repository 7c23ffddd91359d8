"""Threads that decode requests of their own: nothing but the time may depend on how many there are."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from descant.conditioning.tempo_key import TempoKeyConfig
from descant.errors import Cancelled
from descant.generation.engine import Engine
from descant.generation.request import Request, Sampling
from descant.generation.runtimes.native import session
from descant.generation.runtimes.native.session import NativeRuntime, NativeSession
from descant.model import MusicGenModel

FRAME_S = 0.02


def ask(num_frames: int, **changes) -> Request:
    return Request(**{"text": "warm piano", "duration_s": num_frames * FRAME_S, "seed": num_frames, **changes})


REQUESTS = (
    ask(9),
    ask(17, text="warm piano, 110 bpm"),  # two windows and a half
    ask(4, negative_text="noise"),
    ask(11, text=None),
    ask(3, sampling=Sampling(greedy=True)),
)


@pytest.fixture(scope="module")
def model(make_model) -> MusicGenModel:
    return make_model(max_duration_s=10 * FRAME_S, tempo_key=TempoKeyConfig())


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


class Watched(NativeRuntime):
    """Keeps its sessions."""

    def __init__(self, model: MusicGenModel) -> None:
        super().__init__(model.lm)
        self.sessions: list[WatchedSession] = []

    def start_alone(self) -> "WatchedSession":
        self.sessions.append(WatchedSession(self.lm, self.weights, self._target, num_threads=1))
        return self.sessions[-1]


class WatchedSession(NativeSession):
    """Counts its steps, the sequences that joined and are there, and the threads that called it."""

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        self.num_steps = self.num_joined = self.num_here = self.most_here = 0
        self.threads: set[int] = set()

    def join(self, inputs, sequence, max_steps):
        self.num_joined += len(sequence)
        self.num_here += len(sequence)
        self.most_here = max(self.most_here, self.num_here)
        return super().join(inputs, sequence, max_steps)

    def step(self, slots, codes):
        self.num_steps += 1
        self.threads.add(threading.get_ident())
        return super().step(slots, codes)

    def draw_steps(self, slots, logits, drawing):
        self.num_steps += len(drawing.log_noise)
        self.threads.add(threading.get_ident())
        return super().draw_steps(slots, logits, drawing)

    def leave(self, slots):
        self.num_here -= len(slots)
        super().leave(slots)


def watched(model: MusicGenModel, max_batch: int = 8) -> tuple[Engine, Watched]:
    engine, runtime = Engine(model, max_batch), Watched(model)
    engine.runtime = runtime
    return engine, runtime


@pytest.fixture(scope="module")
def alone(model) -> list[torch.Tensor]:
    return [Engine(model, max_batch=1).generate([request])[0].codes for request in REQUESTS]


@pytest.mark.parametrize(("num_threads", "max_batch"), [(1, 8), (2, 8), (2, 3), (3, 2), (3, 8)])
def test_requests_have_the_same_codes_with_any_number_of_threads(model, alone, set_threads, num_threads, max_batch):
    set_threads(num_threads)
    made = Engine(model, max_batch).generate(REQUESTS)
    assert [torch.equal(one.codes, codes) for one, codes in zip(made, alone, strict=True)] == [True] * len(REQUESTS)


def test_each_thread_decodes_its_share(model, set_threads, monkeypatch):
    set_threads(2)
    engine, runtime = watched(model)
    both, start = threading.Barrier(2, timeout=60), Watched.start_alone

    def start_together(self) -> WatchedSession:
        both.wait()  # one thread could be done with everything before the other begins
        return start(self)

    monkeypatch.setattr(Watched, "start_alone", start_together)
    engine.generate([ask(10, seed=seed, text=None) for seed in range(6)])
    assert sum(one.num_joined for one in runtime.sessions) == 6
    assert all(one.num_joined for one in runtime.sessions)
    assert [len(one.threads) for one in runtime.sessions] == [1, 1]
    assert len(runtime.sessions[0].threads | runtime.sessions[1].threads) == 2


def test_threads_together_decode_no_more_requests_than_the_largest_batch(model, set_threads):
    set_threads(2)
    engine, runtime = watched(model, max_batch=3)
    engine.generate([ask(5, seed=seed, text=None) for seed in range(7)])
    assert sorted(one.most_here for one in runtime.sessions) == [1, 2]
    assert sum(one.num_joined for one in runtime.sessions) == 7


def test_weights_that_do_not_fit_into_the_cache_are_read_by_one_session(model, set_threads, monkeypatch):
    set_threads(2)
    assert NativeRuntime(model.lm).num_sessions() == 2
    monkeypatch.setattr(session, "CACHED_BYTES", 1_000)
    engine, runtime = watched(model)
    engine.generate(REQUESTS[:2])
    assert runtime.sessions == []


def test_progress_counts_the_steps_of_all_threads(model, set_threads):
    set_threads(2)
    seen: list[tuple[int, int]] = []
    callers: set[int] = set()

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        callers.add(threading.get_ident())

    Engine(model).generate([ask(3), ask(20), ask(3, seed=1)], progress)
    done = [step for step, _ in seen]
    assert done == sorted(set(done))
    assert {total for _, total in seen} == {done[-1]}
    assert callers == {threading.get_ident()}


@pytest.mark.parametrize("lengths", [(200, 200), (3, 200)])
def test_a_call_that_is_cancelled_stops_all_threads(model, set_threads, lengths):
    """Also while the caller's thread has no requests left."""
    set_threads(2)
    engine, runtime = watched(model)
    cancel = {
        (200, 200): lambda: sum(one.num_steps for one in runtime.sessions) > 20,
        (3, 200): lambda: any(one.num_joined and not one.num_here for one in runtime.sessions),
    }
    with pytest.raises(Cancelled):
        engine.generate([ask(length) for length in lengths], cancel=cancel[lengths])
    assert [one.num_here for one in runtime.sessions] == [0, 0]
    assert sum(one.num_steps for one in runtime.sessions) < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("descant-decode")]


def test_an_error_in_another_thread_stops_the_call(model, set_threads, monkeypatch):
    set_threads(2)
    engine, runtime = watched(model)
    caller, draw_steps = threading.get_ident(), WatchedSession.draw_steps

    def fail(self, slots, logits, drawing):
        if threading.get_ident() != caller:
            raise MemoryError("no memory left")
        return draw_steps(self, slots, logits, drawing)

    monkeypatch.setattr(WatchedSession, "draw_steps", fail)
    with pytest.raises(MemoryError, match="no memory left"):
        engine.generate([ask(200), ask(200, seed=2)])
    assert [one.num_here for one in runtime.sessions] == [0, 0]
    assert sum(one.num_steps for one in runtime.sessions) < 200
