"""Jobs that join and leave between steps: each one's codes are its own, and nothing is left behind or done twice."""

import gc
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from descant.errors import Cancelled, CheckpointError
from descant.generation.decode import Decoder
from descant.generation.decode_job import DecodeJob
from descant.generation.engine import Engine
from descant.generation.prepared import Preparer
from descant.generation.request import Guidance, Request, Sampling
from descant.generation.resolve import Resolver
from descant.generation.runtimes import EagerRuntime
from descant.generation.runtimes.eager import EagerSession
from descant.generation.state import GenerationState
from descant.model import MusicGenModel
from descant.patterns import Flatten, PartialFlatten, delay

FRAME_S = 0.02
PROMPT = torch.randint(0, 32, (4, 17), generator=torch.Generator().manual_seed(0))


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano", "duration_s": 12 * FRAME_S, "seed": 1, **changes})


REQUESTS = (
    ask(),
    ask(seed=2, text="a slow piano over loud strings", negative_text="noise"),
    ask(seed=3, prompt_codes=PROMPT, duration_s=23 * FRAME_S),
    ask(seed=4, text=None, duration_s=20 * FRAME_S),
    ask(seed=5, guidance=Guidance(scale=1.0), sampling=Sampling(top_k=3, temperature=2.0)),
    ask(seed=6, guidance=Guidance(scale=5.0, schedule=((0.1, 1.0),)), sampling=Sampling(top_k=0, top_p=0.7)),
    ask(seed=7, prompt_codes=PROMPT[:, :3], sampling=Sampling(greedy=True), duration_s=5 * FRAME_S),
    ask(seed=8, sampling=Sampling(top_k=4, hold_penalty=9.0), duration_s=28 * FRAME_S),
)


def job_of(model: MusicGenModel, request: Request) -> DecodeJob:
    state = GenerationState(model, Resolver(model).resolve(request), Preparer(model))
    return state.job(state.windows[0])


def alone(model: MusicGenModel, request: Request) -> torch.Tensor:
    with Decoder(EagerRuntime(model.lm), model.config.pattern) as decoder:
        decoding = decoder.join(job_of(model, request))
        while not decoding.is_done:
            decoder.advance()
        return decoder.codes(decoding)


class Watched(EagerRuntime):
    """Keeps its sessions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sessions: list[WatchedSession] = []

    def start(self) -> "WatchedSession":
        self.sessions.append(WatchedSession(self.lm))
        return self.sessions[-1]


class WatchedSession(EagerSession):
    """Counts its steps, and the sequences of each job that joined."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.num_steps = 0
        self.joined: list[int] = []

    @property
    def num_here(self) -> int:
        return len(self._sequences)

    def join(self, inputs, sequence, max_steps):
        self.joined.append(len(sequence))
        return super().join(inputs, sequence, max_steps)

    def step(self, slots, codes):
        self.num_steps += 1
        return super().step(slots, codes)


@pytest.fixture
def watched(tiny_model) -> tuple[Engine, Watched]:
    engine, runtime = Engine(tiny_model), Watched(tiny_model.lm)
    engine.runtime = runtime
    return engine, runtime


@pytest.mark.parametrize("pattern", [delay(4), Flatten(num_codebooks=4), PartialFlatten(num_codebooks=4)], ids=repr)
@pytest.mark.parametrize("seed", range(2))
def test_a_job_gives_its_codes_whatever_others_join_and_leave_and_when(make_model, pattern, seed):
    model, draw, most_given_up = make_model(pattern=pattern), random.Random(seed), 6
    expected = [alone(model, request) for request in REQUESTS]
    num_complete: Counter[int] = Counter()
    with Decoder(EagerRuntime(model.lm), pattern) as decoder:
        waiting = draw.sample(range(len(REQUESTS)), len(REQUESTS))
        here = {}
        while waiting or here:
            if waiting and (not here or draw.random() < 0.2):
                index = waiting.pop()
                here[decoder.join(job_of(model, REQUESTS[index]))] = index
            if most_given_up and draw.random() < 0.04:
                most_given_up -= 1
                given_up = draw.choice(list(here))
                decoder.leave(given_up)
                waiting.append(here.pop(given_up))
                continue
            if draw.random() < 0.1:
                looked_at = draw.choice(list(here))
                known = decoder.codes(looked_at)[:, : looked_at.num_known]
                assert torch.equal(known, expected[here[looked_at]][:, : looked_at.num_known])
            for decoding in decoder.advance():
                index = here.pop(decoding)
                assert torch.equal(decoder.codes(decoding), expected[index]), index
                num_complete[index] += 1
    assert num_complete == Counter(range(len(REQUESTS)))


def test_a_job_that_joins_late_equals_itself(tiny_model):
    late = REQUESTS[1]
    for wait in (1, 5, 11):
        with Decoder(EagerRuntime(tiny_model.lm), tiny_model.config.pattern) as decoder:
            decoder.join(job_of(tiny_model, REQUESTS[3]))
            for _ in range(wait):
                decoder.advance()
            decoding = decoder.join(job_of(tiny_model, late))
            while not decoding.is_done:
                decoder.advance()
            assert torch.equal(decoder.codes(decoding), alone(tiny_model, late))


def test_jobs_of_all_lengths_share_their_steps(watched):
    """Windows whose prompts or texts differed in length once had to wait for each other."""
    engine, runtime = watched
    engine.generate(REQUESTS)
    (session,) = runtime.sessions
    # The start token is read when a job joins, and the last step is not read.
    assert session.num_steps == engine.model.config.pattern.length(28) - 2


def test_a_request_that_waits_joins_as_soon_as_there_is_room(watched):
    engine, runtime = watched
    engine.max_batch = 2
    frames = (40, 3, 3, 3)
    engine.generate([ask(seed=count, duration_s=count * FRAME_S) for count in frames])
    assert runtime.sessions[0].num_steps == engine.model.config.pattern.length(40) - 2


class Stop(Exception):
    pass


def stop_after(num_steps: int, error: type[Exception]) -> Any:
    steps: list[int] = []

    def on_step(*_: int) -> None:
        steps.append(1)
        if len(steps) == num_steps:
            raise error

    return on_step


@pytest.mark.parametrize("end", ["whole", "cancel", "error", "stream", "closed stream"])
def test_no_sequence_stays_in_a_session(watched, end):
    engine, runtime = watched
    if end == "whole":
        engine.generate(REQUESTS)
    elif end == "cancel":
        answers = iter([False] * 10)
        with pytest.raises(Cancelled):
            engine.generate(REQUESTS[:3], cancel=lambda: next(answers, True))
    elif end == "error":
        with pytest.raises(Stop):
            engine.generate(REQUESTS[:3], progress=stop_after(4, Stop))
    else:
        stream = engine.stream(ask(), chunk_s=0.04)
        next(stream)
        assert runtime.sessions[0].num_here > 0
        if end == "stream":
            list(stream)
        del stream
        gc.collect()
    assert [session.num_here for session in runtime.sessions] == [0]


def test_broken_weights_are_noticed_before_codes_are_given_out(make_model):
    model = make_model()
    model.lm.heads[1].weight[3] = float("nan")
    with Decoder(EagerRuntime(model.lm), model.config.pattern) as decoder:
        decoding = decoder.join(job_of(model, ask()))
        decoder.advance()
        with pytest.raises(CheckpointError, match="not finite"):
            decoder.codes(decoding)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2]),
        ({"text": None}, [1]),
        ({"text": " "}, [1]),
        ({"text": None, "negative_text": "noise"}, [2]),
        ({"negative_text": "warm piano"}, [1]),
        ({"guidance": Guidance(scale=1.0)}, [1]),
        ({"guidance": Guidance(scale=1.0, schedule=((0.1, 1.0),))}, [1]),
        ({"guidance": Guidance(scale=1.0, schedule=((0.1, 3.0),))}, [2]),
    ],
    ids=repr,
)
def test_a_row_that_changes_nothing_is_not_computed(watched, changes, expected):
    engine, runtime = watched
    engine.generate([ask(**changes)])
    assert runtime.sessions[0].joined == expected


def test_guidance_that_ends_within_the_music_is_not_computed_after_it(make_model):
    model = make_model(max_duration_s=10 * FRAME_S)
    engine, runtime = Engine(model), Watched(model.lm)
    engine.runtime = runtime
    guidance = Guidance(scale=3.0, schedule=((8 * FRAME_S, 1.0),))
    engine.generate([ask(guidance=guidance, duration_s=30 * FRAME_S)])
    assert runtime.sessions[0].joined[0] == 2
    assert runtime.sessions[0].joined[-1] == 1


def test_a_request_without_conditions_gives_the_codes_of_both_rows(tiny_model):
    """The row that is left out would have had the same logits, and guidance towards oneself changes no bit."""
    job = job_of(tiny_model, ask(text=None))
    both = job.inputs.rows(torch.tensor([0, 0]))
    guided = DecodeJob(job.num_frames, job.prompt, both, ((3.0,),), job.sampling, job_of(tiny_model, ask()).noise)
    with Decoder(EagerRuntime(tiny_model.lm), tiny_model.config.pattern) as decoder:
        decoding = decoder.join(guided)
        while not decoding.is_done:
            decoder.advance()
        assert torch.equal(decoder.codes(decoding), alone(tiny_model, ask(text=None)))


@pytest.fixture
def texts_read(make_model, monkeypatch) -> Iterator[tuple[MusicGenModel, list[str]]]:
    model, read = make_model(max_duration_s=10 * FRAME_S), []
    states = model.text.encoder.states
    monkeypatch.setattr(model.text.encoder, "states", lambda text: read.append(text) or states(text))
    return model, read


def test_a_text_is_encoded_once_for_all_requests_windows_sections_and_calls(texts_read):
    model, read = texts_read
    fields = {"duration_s": 14 * FRAME_S, "negative_text": "noise"}
    back_again = {"timeline": ((0.06, "drums"), (0.14, "warm piano"))}
    for _ in range(2):
        Engine(model).generate([*(ask(seed=seed, **fields) for seed in range(4)), ask(**fields, **back_again)])
        assert Counter(read) == {"warm piano": 1, "drums": 1, "noise": 1}


def test_a_changed_prompt_is_encoded_once(texts_read):
    model, read = texts_read
    stream = Engine(model).stream(ask(duration_s=20 * FRAME_S), chunk_s=0.02)
    next(stream)
    stream.change("loud drums")
    list(stream)
    assert read == ["warm piano", "loud drums"]


def test_equal_melodies_are_prepared_once_and_others_are_not(make_model):
    rows = [[{"text": "a", "melody": torch.full((4, 12), level)}, {"text": None}] for level in (1, 1, 2)]

    class Model:
        calls = 0

        def prepare(self, _: object) -> dict[str, int]:
            self.calls += 1
            return {"number": self.calls}

    preparer = Preparer(make_model())
    preparer._model = Model()
    assert [preparer.prepare(row)["number"] for row in rows] == [1, 1, 2]
    assert preparer.prepare(rows[0][:1])["number"] == 3
    for number in range(40):
        preparer.prepare([{"text": str(number)}])
    assert len(preparer._prepared) == 16


class Operations(TorchDispatchMode):
    """Counts PyTorch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


class Constant(EagerSession):
    """Gives the same logits at each step, without an operation."""

    def step(self, slots, codes):
        self._logits = getattr(self, "_logits", None)
        if self._logits is None:
            self._logits = super().step(slots, codes)
        return self._logits


@pytest.mark.parametrize("num_jobs", [1, 8])
def test_a_step_takes_few_operations_around_the_model(make_model, num_jobs):
    """A step of a small model takes as long as starting its operations. There were once 48 around the model."""
    model = make_model()
    runtime = EagerRuntime(model.lm)
    runtime.start = lambda: Constant(model.lm)
    with Decoder(runtime, model.config.pattern) as decoder:
        for seed in range(num_jobs):
            sampling = Sampling(top_k=16)
            decoder.join(job_of(model, ask(seed=seed, duration_s=80 * FRAME_S, sampling=sampling)))
        for _ in range(6):
            decoder.advance()
        with Operations() as operations:
            for _ in range(64):
                decoder.advance()
    assert operations.count / 64 <= 24
