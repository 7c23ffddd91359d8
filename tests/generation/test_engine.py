"""What users rely on: the codes of a request depend on the request alone."""

import copy
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.conditioning.tempo_key import TempoKeyConfig
from descant.conditioning.text import SmallText
from descant.errors import Cancelled, CheckpointError
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request, Sampling
from descant.model import MusicGenModel
from descant.nn.quantize import dequantize_rows, quantize_rows
from descant.patterns import CoarseFirst, Flatten, Grouped, PartialFlatten, delay, parallel, partial_delay

PATTERNS = (
    parallel(4),
    delay(4),
    partial_delay(4),
    Flatten(num_codebooks=4),
    PartialFlatten(num_codebooks=4),
    CoarseFirst(delays=(0, 0, 1, 2)),
    Grouped(num_codebooks=4, group_size=2),
)
FRAME_S = 0.02
LONG_TEXT = "a slow piano over strings " * 14
"""More words than one block of conditions holds, so it cannot share a batch with short ones."""


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano", "duration_s": 8 * FRAME_S, "seed": 1, **changes})


MIXED = (
    ask(),
    ask(seed=2, duration_s=3 * FRAME_S, guidance=Guidance(scale=0.0)),
    ask(seed=3, text="loud drums, fast", guidance=Guidance(scale=1.0)),
    ask(seed=4, text=None, duration_s=12 * FRAME_S),
    ask(negative_text="noise and speech"),
    ask(text="strings", sampling=Sampling(greedy=True), duration_s=5 * FRAME_S),
    ask(seed=6, sampling=Sampling(top_k=3, top_p=0.7, temperature=0.5), duration_s=0.001),
    ask(seed=7, text=LONG_TEXT),
)


def codes_of(model: MusicGenModel, *requests: Request, max_batch: int = 8) -> list[torch.Tensor]:
    return [made.codes for made in Engine(model, max_batch).generate(requests)]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True)]


@pytest.fixture(scope="module")
def alone(tiny_model) -> list[torch.Tensor]:
    return [codes_of(tiny_model, request)[0] for request in MIXED]


@pytest.mark.parametrize("max_batch", [8, 5, 2])
def test_a_request_gives_the_same_codes_alone_and_in_any_batch(tiny_model, alone, max_batch):
    assert all(same(codes_of(tiny_model, *MIXED, max_batch=max_batch), alone))


def test_the_order_of_requests_changes_nothing_but_the_order(tiny_model, alone):
    assert all(same(codes_of(tiny_model, *reversed(MIXED))[::-1], alone))


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_every_pattern_gives_the_same_codes_alone_and_in_a_batch(make_model, pattern):
    model = make_model(pattern=pattern, tempo_key=TempoKeyConfig(), max_duration_s=6 * FRAME_S)
    lengths = (6, 6, 6) if pattern.depends_on_length else (4, 6, 3)
    requests = [
        ask(text="warm piano at 97 bpm", duration_s=lengths[0] * FRAME_S),
        ask(seed=2, text=None, duration_s=lengths[1] * FRAME_S),
        ask(seed=3, guidance=Guidance(scale=1.0), duration_s=lengths[2] * FRAME_S),
    ]
    apart = [codes_of(model, request)[0] for request in requests]
    assert all(same(codes_of(model, *requests), apart))
    assert [codes.shape for codes in apart] == [(4, length) for length in lengths]


@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_a_wider_model_keeps_rows_apart_too(make_model, positions, is_int8):
    """At width 16 every sum is short. Rows of 4 once took another kernel than rows of 8, and rounded differently."""
    model = make_model(
        lm_changes={"width": 256, "num_heads": 4, "qk_norm": True, "positions": positions},
        text=SmallText(dim=12, has_pooled_text=positions == "rotary"),
        tempo_key=TempoKeyConfig() if positions == "rotary" else None,
    )
    if is_int8:
        for parameter in model.lm.parameters():
            if parameter.ndim == 2:
                parameter.copy_(dequantize_rows(*quantize_rows(parameter)))
    texts = ["warm piano", "drums 90 bpm", None, "a b c d", "warm piano in F minor"]
    negative = "a choir of bells, 70 bpm"
    requests = [
        ask(seed=seed, text=text, negative_text=negative if seed == 3 else None, duration_s=(3 + seed) * FRAME_S)
        for seed, text in enumerate(texts)
    ]
    apart = [codes_of(model, request)[0] for request in requests]
    assert all(same(codes_of(model, *requests), apart))


def test_a_prefix_model_keeps_rows_apart_and_takes_texts_of_all_lengths(make_model):
    """The null condition was once a prefix of another length than the text, and guidance failed."""
    model = make_model(lm_changes={"has_cross_attention": False})
    requests = [
        ask(),
        ask(seed=2, text="one two three four", negative_text="a b c d e f"),
        ask(text=None),
        ask(seed=3),
        ask(seed=3, guidance=Guidance(scale=1.0)),
    ]
    apart = [codes_of(model, request)[0] for request in requests]
    assert all(same(codes_of(model, *requests), apart))
    assert not torch.equal(apart[0], apart[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"text": "loud drums"},
        {"text": None},
        {"negative_text": "speech"},
        {"guidance": Guidance(scale=1.0)},
        {"guidance": Guidance(scale=5.0)},
        {"sampling": Sampling(temperature=1.5)},
        {"sampling": Sampling(greedy=True)},
        {"sampling": Sampling(top_k=2)},
    ],
    ids=repr,
)
def test_every_changed_field_changes_the_codes(tiny_model, changes):
    base = ask(duration_s=20 * FRAME_S)
    ours, theirs = codes_of(tiny_model, base, replace(base, **changes))
    assert not torch.equal(ours, theirs)


def test_rows_of_a_batch_do_not_share_their_noise(tiny_model):
    made = codes_of(tiny_model, *(ask(seed=seed, duration_s=20 * FRAME_S) for seed in range(8)))
    assert len({codes.numpy().tobytes() for codes in made}) == 8


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_the_codes_begin_with_those_of_the_prompt(make_model, pattern):
    prompt = torch.randint(0, 32, (4, 5), generator=torch.Generator().manual_seed(0))
    request = ask(prompt_codes=prompt)
    made = Engine(make_model(pattern=pattern, max_duration_s=8 * FRAME_S)).generate([request])[0]
    assert torch.equal(made.codes[:, :5], prompt)
    assert made.codes.shape == (4, 8)
    assert made.request.num_prompt_frames == 5


@pytest.mark.parametrize("num_frames", [1, 16, 21])
def test_a_continuation_is_the_same_alone_and_in_a_batch(tiny_model, num_frames):
    prompts = torch.randint(0, 32, (3, 4, num_frames), generator=torch.Generator().manual_seed(0))
    requests = [
        ask(prompt_codes=prompt, seed=seed, duration_s=(num_frames + 2 + seed) * FRAME_S)
        for seed, prompt in enumerate(prompts)
    ]
    requests.append(ask(prompt_codes=prompts[0, :, :1]))
    apart = [codes_of(tiny_model, request)[0] for request in requests]
    assert all(same(codes_of(tiny_model, *requests), apart))


def test_another_prompt_gives_another_continuation(tiny_model):
    requests = [ask(prompt_codes=torch.full((4, 5), code), duration_s=25 * FRAME_S) for code in (1, 2)]
    ours, theirs = codes_of(tiny_model, *requests)
    assert not torch.equal(ours[:, 5:], theirs[:, 5:])


@pytest.mark.parametrize(("duration_s", "num_samples"), [(0.001, 32), (0.02, 640), (0.03, 960), (0.0501, 1_603)])
def test_audio_has_exactly_the_length_asked_for(tiny_model, duration_s, num_samples):
    made = Engine(tiny_model).generate([ask(duration_s=duration_s)])[0]
    assert made.wave.shape == (1, num_samples)
    assert made.codes.shape == (4, -(-num_samples // 640))
    with torch.no_grad():
        decoded = tiny_model.codec.decode(made.codes[None])[0]
    torch.testing.assert_close(made.wave, decoded[:, :num_samples], rtol=0, atol=1e-6)


@pytest.mark.parametrize("max_batch", [8, 1])
def test_progress_counts_up_to_the_total(tiny_model, max_batch):
    seen: list[tuple[int, int]] = []
    Engine(tiny_model, max_batch).generate(MIXED[:4], progress=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert done == sorted(set(done))
    assert {total for _, total in seen} == {done[-1]}


def test_a_cancelled_request_stops_before_its_next_step(tiny_model):
    steps: list[int] = []
    with pytest.raises(Cancelled):
        Engine(tiny_model).generate([ask()], lambda done, _: steps.append(done), cancel=lambda: len(steps) == 3)
    assert len(steps) == 3


def test_broken_weights_are_an_error(tiny_model):
    broken = copy.deepcopy(tiny_model)
    broken.lm.heads[1].weight[3] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        Engine(broken).generate([ask()])


def test_generated_tensors_can_be_trained_on(tiny_model):
    """It once came out of inference_mode, whose tensors autograd refuses."""
    made = Engine(tiny_model).generate([ask()])[0]
    table = torch.nn.Embedding(32, 2)
    table(made.codes).sum().backward()
    gain = torch.ones((), requires_grad=True)
    (made.wave * gain).square().sum().backward()
    assert table.weight.grad is not None


def test_two_threads_at_once_get_what_each_gets_alone(tiny_model, alone):
    engine, made = Engine(tiny_model), {}
    orders = {"first": (0, 4, 7), "second": (3, 5, 2)}

    def work(name: str) -> None:
        made[name] = [made.codes for made in engine.generate([MIXED[index] for index in orders[name]])]

    threads = [threading.Thread(target=work, args=(name,)) for name in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, order in orders.items():
        assert all(same(made[name], [alone[index] for index in order]))


IN_A_NEW_PROCESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from conftest import make_tiny_model
from descant.generation.engine import Engine
from descant.generation.request import Request
request = Request(text="warm piano", duration_s=0.16, seed=1)
print(json.dumps(Engine(make_tiny_model()).generate([request])[0].codes.tolist()))
"""


def test_a_new_process_gives_the_same_codes(alone):
    tests = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, str(tests)],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == alone[0].tolist()
