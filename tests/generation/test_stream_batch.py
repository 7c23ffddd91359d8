"""Music that is streamed side by side is the music of each request alone, also where prompts are revised on the way."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from descant.adapters import Adapter, LoraConfig, new_adapter
from descant.errors import CheckpointError, InvalidRequest
from descant.generation.engine import Engine
from descant.generation.request import Request
from descant.generation.runtimes.native.session import NativeSession
from descant.generation.stream_batch import StreamBatch

FRAME_S = 0.02


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano, 110 bpm", "duration_s": 0.9, "seed": 1, **changes})


@pytest.fixture(scope="module")
def engine(make_model) -> Engine:
    return Engine(make_model(max_duration_s=0.4))


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def overflowing(engine: Engine) -> Adapter:
    """An adapter with which no value is finite."""
    adapter = new_adapter(engine.model, LoraConfig(rank=2, alpha=2.0), torch.Generator().manual_seed(0))
    for part in (part for parts in adapter.changes.values() for part in parts if part is not None):
        part.down.data.fill_(1e30)
        part.up.data.fill_(1e30)
    return adapter


def finished(batch: StreamBatch, at_steps: dict | None = None) -> dict:
    """The waves of all music by its object; ``at_steps`` has what to do before a step."""
    waves, step = {}, 0
    while len(batch) or step <= max(at_steps or {}, default=0):
        if at_steps and step in at_steps:
            at_steps[step]()
        for one in batch.advance():
            assert one.error is None
            waves.setdefault(one.music, []).extend(one.waves)
        step += 1
    return {music: torch.cat(parts, dim=1) for music, parts in waves.items()}


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_requests_that_join_and_leave_at_any_time_get_their_own_music(engine, set_threads, num_threads):
    set_threads(num_threads)
    requests = [ask(seed=1), ask(seed=2, duration_s=0.3), ask(seed=3, text="drums", timeline=((0.5, "strings"),))]
    loop = ask(loop_bars=1, text="bells, 240 bpm", seed=4)
    batch, made = engine.stream_batch(chunk_s=0.1), {}
    left = batch.add(ask(seed=5, duration_s=5.0))

    def join(request):
        return lambda: made.update({batch.add(request): request})

    joins = {0: join(requests[0]), 7: join(requests[1]), 20: join(requests[2]), 26: join(loop)}
    waves = finished(batch, {**joins, 25: lambda: batch.remove(left)})
    for music, request in made.items():
        alone = engine.generate([request])[0]
        assert torch.equal(music.codes, alone.codes)
        torch.testing.assert_close(waves[music], alone.wave, rtol=0, atol=1e-4)
    assert left.codes.shape[1] > 0
    alone = engine.generate([left.request.original])[0]
    assert torch.equal(left.codes, alone.codes[:, : left.codes.shape[1]])
    batch.close()


@pytest.mark.parametrize("at_step", [0, 3, 14])
@pytest.mark.parametrize("later", [((0.36, "loud drums, 90 bpm"), (0.62, "strings")), ((0.5, "loud drums"),), ()])
def test_revised_prompts_give_the_music_of_a_request_with_these_prompts(engine, at_step, later):
    batch = engine.stream_batch(chunk_s=0.06)
    music = batch.add(ask(timeline=((0.1, "flute"), (0.7, "choir"))))
    waves = finished(batch, {at_step: lambda: batch.revise(music, later)})[music]
    revised = music.request.timeline
    assert {text for _, text in revised} >= {text for _, text in later}
    assert "choir" not in {text for _, text in revised}
    alone = engine.generate([ask(timeline=revised)])[0]
    assert torch.equal(music.codes, alone.codes)
    torch.testing.assert_close(waves, alone.wave, rtol=0, atol=1e-4)
    batch.close()
    assert not torch.equal(music.codes, engine.generate([ask(timeline=((0.1, "flute"), (0.7, "choir")))])[0].codes)


def test_what_is_drawn_already_is_not_revised(engine):
    batch = engine.stream_batch(chunk_s=0.06)
    music = batch.add(ask())
    for _ in range(10):
        batch.advance()
    with pytest.raises(InvalidRequest, match="from second"):
        batch.revise(music, ((0.1, "drums"),))
    for wrong in ((0.95, "drums"), (0.5, "\0")):
        with pytest.raises(InvalidRequest):
            batch.revise(music, (wrong,))
    finished(batch)
    batch.close()
    assert torch.equal(music.codes, engine.generate([ask()])[0].codes)


def test_closing_frees_every_slot_and_ends_the_threads(engine, set_threads, monkeypatch):
    sessions = []
    set_threads(2)
    start = engine.runtime.start_alone
    monkeypatch.setattr(engine.runtime, "start_alone", lambda: (sessions.append(start()), sessions[-1])[1])
    batch = engine.stream_batch()
    batch.add(ask())
    batch.add(ask(seed=2))
    batch.advance()
    for lane in batch._lanes:
        lane.pause()  # the other thread may be at its first step
    assert [bool(session._slots.kept) for session in sessions] == [True, True]
    batch.close()
    assert not any(session._slots.kept for session in sessions)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("descant-stream")]


def test_each_thread_makes_some_of_the_music(engine, set_threads, monkeypatch):
    set_threads(2)
    used: dict[NativeSession, set[int]] = {}
    join = NativeSession.join

    def join_here(self, *values):
        used.setdefault(self, set()).add(threading.get_ident())
        return join(self, *values)

    monkeypatch.setattr(NativeSession, "join", join_here)
    batch = engine.stream_batch()
    musics = [batch.add(ask(seed=seed, duration_s=0.4)) for seed in range(4)]
    assert set(finished(batch)) == set(musics)
    batch.close()
    assert [len(threads) for threads in used.values()] == [1, 1]
    assert len(set.union(*used.values(), {threading.get_ident()})) == 3


def test_an_error_in_another_thread_reaches_the_caller(engine, set_threads, monkeypatch):
    set_threads(2)

    def fail(*_):
        raise MemoryError("no memory left")

    monkeypatch.setattr(NativeSession, "draw_steps", fail)
    batch = engine.stream_batch()
    for seed in range(2):
        batch.add(ask(seed=seed))
    with pytest.raises(MemoryError, match="no memory left"):
        finished(batch)
    batch.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("descant-stream")]


def test_a_thread_goes_on_while_another_takes_long_for_a_step(engine, set_threads, monkeypatch):
    set_threads(2)
    batch, go_on = engine.stream_batch(chunk_s=0.06), threading.Event()
    slow, quick = (batch.add(ask(seed=seed)) for seed in range(2))
    draw_steps = NativeSession.draw_steps
    held = {batch._lane_of[slow].decoders[engine.runtime]._session}
    monkeypatch.setattr(
        NativeSession,
        "draw_steps",
        lambda self, *values: (self in held and go_on.wait(60), draw_steps(self, *values))[1],
    )
    waves = []
    while len(batch) == 2:
        made = batch.advance()
        assert not go_on.is_set()
        waves += [wave for one in made if one.music is quick for wave in one.waves]
    assert torch.equal(quick.codes, engine.generate([ask(seed=1)])[0].codes)
    torch.testing.assert_close(torch.cat(waves, dim=1), engine.generate([ask(seed=1)])[0].wave, rtol=0, atol=1e-4)
    go_on.set()
    finished(batch)
    assert torch.equal(slow.codes, engine.generate([ask(seed=0)])[0].codes)
    batch.close()


def test_nothing_of_music_that_was_removed_is_given_out(engine, set_threads):
    set_threads(2)
    batch = engine.stream_batch(chunk_s=0.06)
    musics = [batch.add(ask(seed=seed)) for seed in range(4)]
    lane, removed = batch._lane_of[musics[0]], musics[0]
    batch.advance()
    while removed not in {one.music for one in lane.turn.result()}:  # until what it made next is only to be asked for
        batch.advance()
    for _ in range(2):
        batch.remove(removed)
    assert len(batch) == 3
    assert set(finished(batch)) == set(musics[1:])
    batch.close()


def test_music_whose_end_was_not_given_out_is_not_revised(engine, set_threads):
    set_threads(2)
    batch = engine.stream_batch()
    short, long = batch.add(ask(duration_s=0.1)), batch.add(ask(seed=2, duration_s=0.4))
    lane = batch._lane_of[short]
    lane.pause()
    while short in lane.running or lane.joining:
        assert short not in {one.music for one in batch.advance() if one.is_done}
        lane.pause()
    with pytest.raises(InvalidRequest, match="drawn already"):
        batch.revise(short, ((0.05, "drums"),))
    assert set(finished(batch)) == {short, long}
    batch.close()


def test_music_that_has_ended_is_not_revised(engine):
    batch = engine.stream_batch()
    music = batch.add(ask(duration_s=0.1))
    finished(batch)
    with pytest.raises(InvalidRequest, match="drawn already"):
        batch.revise(music, ((0.05, "drums"),))
    batch.close()


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("duration_s", [0.04, 0.9])  # the error is found in a step, or with the first chunk
def test_a_broken_adapter_ends_its_own_music_only(engine, set_threads, num_threads, duration_s):
    """It once ended the process of a service, and with it the music of everybody."""
    set_threads(num_threads)
    batch, adapter = engine.stream_batch(chunk_s=0.06), overflowing(engine)
    good = [batch.add(ask(seed=seed)) for seed in range(2)]
    for _ in range(2):
        broken = [batch.add(ask(seed=seed, duration_s=duration_s, adapters=adapter)) for seed in range(2)]
        errors = {}
        while len(errors) < 2:
            errors |= {one.music: one.error for one in batch.advance() if one.error is not None}
        assert errors.keys() == set(broken)
        assert {type(error) for error in errors.values()} == {CheckpointError}
    assert set(finished(batch)) == set(good)
    for seed, music in enumerate(good):
        assert torch.equal(music.codes, engine.generate([ask(seed=seed)])[0].codes)
    batch.close()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_broken_music_is_removed_without_a_word_and_what_shares_its_steps_says_why(engine, set_threads, num_threads):
    """Python once printed an exception that it ignored, since nobody closed the generator but its destructor."""
    set_threads(num_threads)
    batch, adapter = engine.stream_batch(), overflowing(engine)
    first, other = (batch.add(ask(seed=seed, duration_s=0.9, adapters=adapter)) for seed in range(2))
    for music in (first, other)[: 3 - num_threads]:  # in two threads each has steps of its own
        batch.advance()
        batch.remove(music)
    errors = [one.error for one in (batch.advance() for _ in range(len(batch))) for one in one]
    assert all(isinstance(error, CheckpointError) for error in errors)
    batch.close()


class Between:
    """A state as another thread sees it that asks for the codes just before or just after a window ends."""

    def __init__(self, state, end: Callable[[], object], is_before: bool) -> None:
        self._state, self._end, self._is_before = state, end, is_before

    @property
    def codes(self):
        before = self._state.codes
        self._end()
        return before if self._is_before else self._state.codes

    def __getattr__(self, name: str):
        return getattr(self._state, name)


@pytest.mark.parametrize("is_before", [True, False])
def test_how_much_is_known_does_not_fall_where_it_is_asked_while_a_window_ends(engine, is_before):
    batch = engine.stream_batch(chunk_s=0.06)
    music = batch.add(ask(duration_s=0.3))
    while music.known_s < 0.2:
        batch.advance()
    state = music._state

    def end() -> None:
        music._state = state
        finished(batch)

    music._state = Between(state, end, is_before)
    assert music.known_s == pytest.approx(0.3)
    batch.close()


def test_how_much_is_known_does_not_fall_while_a_window_ends(engine, monkeypatch):
    """For a moment the codes were nowhere: a clip that was nearly done was shown as not begun."""
    batch, seen = engine.stream_batch(chunk_s=0.06), []
    music = batch.add(ask(duration_s=0.3))
    append = music._state.append

    def noted(*values) -> None:
        seen.append(music.known_s)
        append(*values)
        seen.append(music.known_s)

    monkeypatch.setattr(music._state, "append", noted)
    finished(batch)
    assert seen == [pytest.approx(0.3)] * 2
    batch.close()
