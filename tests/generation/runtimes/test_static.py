"""The runtime in static memory: its steps give the logits of one forward pass, whatever else happens in the memory."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from descant.errors import InvalidRequest
from descant.generation.runtimes import static_state
from descant.generation.runtimes.cuda_graphs import GraphCache
from descant.generation.runtimes.static import StaticRuntime, StaticSession
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.transformer import TransformerConfig

RELEASED = TransformerConfig(width=64, num_heads=4, num_layers=2)
MODELS = {
    "released": RELEASED,
    "one head": replace(RELEASED, num_heads=1),
    "qk_norm": replace(RELEASED, qk_norm=True),
    "rotary": replace(RELEASED, positions="rotary"),
    "residual_scale": replace(RELEASED, residual_scale=True),
    "all new": replace(RELEASED, qk_norm=True, positions="rotary", residual_scale=True),
    "no cross-attention": replace(RELEASED, has_cross_attention=False, qk_norm=True),
}
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
NUM_STEPS = 30
CONDITIONS = ("cross", "prefix", "sum", "output")


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch):
    """Sequences of the tests pass through several lengths."""
    monkeypatch.setattr(static_state, "LENGTH_STEPS", 8)
    monkeypatch.setattr(static_state, "CROSS_STEPS", 4)


def lively(transformer: TransformerConfig, dtype: torch.dtype = torch.float32) -> MusicLM:
    """A model whose every parameter matters, with logits of about 1."""
    torch.manual_seed(0)
    lm = MusicLM(LMConfig(num_codebooks=3, codebook_size=11, transformer=transformer)).eval().requires_grad_(False)
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim == 1 else 0.1)
    return lm.to(dtype)


def sequence_of(num_rows: int = 1, num_steps: int = NUM_STEPS, seed: int = 2) -> Tensor:
    return torch.randint(0, 12, (num_rows, 3, num_steps), generator=torch.Generator().manual_seed(seed))


def inputs_of(lm: MusicLM, num_rows: int = 1, names: tuple[str, ...] = CONDITIONS, seed: int = 1) -> LMInputs:
    """Those of the named conditions that the model takes. Every third text is the null condition."""
    generator = torch.Generator().manual_seed(seed)

    def random_rows(length: int) -> Tensor:
        return torch.randn(num_rows, length, lm.config.transformer.width, generator=generator)

    given = {"prefix": random_rows(3), "sum": random_rows(NUM_STEPS), "output": random_rows(1)}
    inputs = LMInputs(**{name: values for name, values in given.items() if name in names})
    if "cross" in names and lm.config.transformer.has_cross_attention:
        num_words = torch.tensor([(seed + 2 * row) % 3 * 2 for row in range(num_rows)])
        inputs = replace(inputs, cross=random_rows(5), cross_mask=torch.arange(5) < num_words[:, None])
    return inputs.to(torch.device("cpu"), lm.norm.weight.dtype)


def logits_of(runtime: StaticRuntime, sequence: Tensor, inputs: LMInputs, prompt_steps: int) -> Tensor:
    """After the prompt, and after each step that follows it."""
    session = runtime.start()
    slots, first = session.join(inputs, sequence[:, :, :prompt_steps], sequence.shape[-1])
    later = [session.step(slots, sequence[:, :, step]) for step in range(prompt_steps, sequence.shape[-1])]
    session.leave(slots)
    return torch.stack([first, *later], dim=2)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    tolerance = TOLERANCES[found.dtype] * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def assert_steps_give_the_logits_of_one_pass(
    lm: MusicLM, names: tuple[str, ...] = CONDITIONS, prompt_steps: int = 4, num_rows: int = 3
) -> None:
    inputs, sequence = inputs_of(lm, num_rows, names), sequence_of(num_rows)
    expected = lm(sequence, inputs)[:, :, prompt_steps - 1 :]
    assert_close(logits_of(StaticRuntime(lm), sequence, inputs, prompt_steps), expected)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_steps_give_the_logits_of_one_pass(model, dtype):
    assert_steps_give_the_logits_of_one_pass(lively(MODELS[model], dtype))


@pytest.mark.parametrize("names", [(), *((name,) for name in CONDITIONS)], ids=str)
@pytest.mark.parametrize("model", ["released", "all new", "no cross-attention"])
def test_steps_give_the_logits_of_one_pass_with_every_condition(model, names):
    assert_steps_give_the_logits_of_one_pass(lively(MODELS[model]), names)


@pytest.mark.parametrize("prompt_steps", [1, 2, 7, 8, 9, NUM_STEPS])
def test_steps_give_the_logits_of_one_pass_after_every_prompt(prompt_steps, monkeypatch):
    monkeypatch.setattr("descant.generation.runtimes.static.PREFILL_CHUNK", 4)
    assert_steps_give_the_logits_of_one_pass(lively(MODELS["all new"]), prompt_steps=prompt_steps)


@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_steps_give_the_logits_of_one_pass_in_every_batch(num_rows):
    assert_steps_give_the_logits_of_one_pass(lively(MODELS["all new"]), num_rows=num_rows)


def test_one_vector_is_added_to_every_step():
    lm, sequence = lively(MODELS["released"]), sequence_of()
    one = LMInputs(sum=torch.randn(1, 1, 64))
    assert_close(logits_of(StaticRuntime(lm), sequence, one, 1), lm(sequence, one))


@torch.inference_mode()
def greedy_codes(lm: MusicLM, inputs: LMInputs, num_rows: int, runtime: StaticRuntime | None = None) -> Tensor:
    """With a runtime, or with the model's own cache."""
    codes = sequence_of(num_rows, 1)
    if runtime is not None:
        session = runtime.start()
        slots, logits = session.join(inputs, codes, NUM_STEPS)
    else:
        cache = lm.new_cache(num_rows, NUM_STEPS, inputs)
        logits = lm(codes, inputs, cache)[:, :, -1]
    found = [logits.argmax(dim=-1)]
    for _ in range(NUM_STEPS - 1):
        newest = found[-1]
        logits = lm(newest[:, :, None], inputs, cache)[:, :, -1] if runtime is None else session.step(slots, newest)
        found.append(logits.argmax(dim=-1))
    return torch.stack(found, dim=-1)


@pytest.mark.parametrize("model", MODELS)
def test_the_likeliest_codes_are_those_of_the_models_own_cache(model):
    lm = lively(MODELS[model])
    inputs = inputs_of(lm, 4)
    expected = greedy_codes(lm, inputs, 4)
    assert torch.equal(greedy_codes(lm, inputs, 4, StaticRuntime(lm)), expected)
    assert expected.unique(dim=-1).shape[-1] > 4, "a sequence that repeats itself would hide errors"


class Player:
    """Some sequences of one join, with the logits that one forward pass gives for them."""

    def __init__(self, lm: MusicLM, session: StaticSession, dice: random.Random) -> None:
        seed, self.num_rows = dice.randrange(1_000), dice.randint(1, 3)
        self.sequence = sequence_of(self.num_rows, dice.randint(6, NUM_STEPS), seed)
        inputs = inputs_of(lm, self.num_rows, tuple(name for name in CONDITIONS if dice.random() < 0.6), seed)
        self.expected, self.session = lm(self.sequence, inputs), session
        self.read = dice.randint(1, 5)
        self.slots, logits = session.join(inputs, self.sequence[:, :, : self.read], self.sequence.shape[-1])
        assert_close(logits, self.expected[:, :, self.read - 1])

    @property
    def is_done(self) -> bool:
        return self.read == self.sequence.shape[-1]

    def check(self, logits: Tensor) -> None:
        assert_close(logits, self.expected[:, :, self.read])
        self.read += 1


@pytest.mark.parametrize("model", ["released", "all new", "no cross-attention"])
@pytest.mark.parametrize("seed", range(4))
def test_sequences_join_step_and_leave_in_any_order(model, seed):
    lm, dice = lively(MODELS[model]), random.Random(seed)
    runtime = StaticRuntime(lm)
    session, players = runtime.start(), []
    for _ in range(150):
        action = dice.random()
        if action < 0.15 and len(players) < 5:
            players.append(Player(lm, session, dice))
        elif action < 0.22 and players:
            session.leave(players.pop(dice.randrange(len(players))).slots)
        steppers = [player for player in players if not player.is_done and dice.random() < 0.7]
        dice.shuffle(steppers)
        if not steppers:
            continue
        slots = [slot for player in steppers for slot in player.slots]
        codes = torch.cat([player.sequence[:, :, player.read] for player in steppers])
        logits = session.step(slots, codes).split([player.num_rows for player in steppers])
        for player, rows in zip(steppers, logits, strict=True):
            player.check(rows)


def test_memory_grows_while_a_sequence_is_decoded():
    """More rows, a longer sequence, a longer text and other conditions join in the middle."""
    lm = lively(MODELS["all new"])
    sequence, inputs = sequence_of(1, 12), inputs_of(lm, 1, ("cross",))
    session = StaticRuntime(lm).start()
    slots, logits = session.join(inputs, sequence[:, :, :1], 12)
    found = [logits, *(session.step(slots, sequence[:, :, step]) for step in range(1, 6))]
    before = session._memory.capacity
    others = [replace(inputs_of(lm, 4, ("sum", "prefix", "output")), cross=torch.randn(4, 9, 64))]
    session.join(others[0], sequence_of(4, 2), NUM_STEPS)
    after = session._memory.capacity
    assert (after.rows, after.length, after.cross_length) > (before.rows, before.length, before.cross_length)
    assert (before.sum_steps, after.sum_steps) == (0, 32)
    found += [session.step(slots, sequence[:, :, step]) for step in range(6, 12)]
    assert_close(torch.stack(found, dim=2), lm(sequence, inputs))


def test_a_sequence_at_the_end_of_its_memory_leaves_the_next_row_alone():
    lm = lively(MODELS["released"])
    full, sequence = sequence_of(1, 8), sequence_of(1, 8, seed=5)
    session = StaticRuntime(lm).start()
    session.join(LMInputs(), full, 8)
    slots, _ = session.join(LMInputs(), sequence[:, :, :1], 8)
    later = [session.step(slots, sequence[:, :, step]) for step in range(1, 8)]
    assert_close(torch.stack(later, dim=2), lm(sequence)[:, :, 1:])


def test_numbers_that_are_not_finite_stay_with_their_sequence():
    lm, sequence = lively(MODELS["released"]), sequence_of()
    runtime = StaticRuntime(lm)
    session = runtime.start()
    broken = LMInputs(cross=torch.full((1, 5, 64), torch.nan), prefix=torch.full((1, 9, 64), torch.nan))
    slots, logits = session.join(broken, sequence, NUM_STEPS)
    assert logits.isnan().all()
    neighbours, _ = session.join(LMInputs(), sequence[:, :, :1], 4)
    assert session.step(neighbours, sequence[:, :, 1]).isfinite().all()
    session.leave([*slots, *neighbours])
    assert_close(logits_of(runtime, sequence, LMInputs(), 2), lm(sequence)[:, :, 1:])


def test_the_next_session_has_the_memory_of_the_last():
    lm, sequence = lively(MODELS["all new"]), sequence_of(2)
    runtime, found = StaticRuntime(lm), []
    for seed in (1, 2):
        inputs = inputs_of(lm, 2, seed=seed)
        assert_close(logits_of(runtime, sequence, inputs, 3), lm(sequence, inputs)[:, :, 2:])
        found.append(runtime._idle)
    assert found[0] is found[1] is not None


def test_sessions_at_the_same_time_have_memory_of_their_own():
    lm, sequence = lively(MODELS["released"]), sequence_of()
    runtime, expected = StaticRuntime(lm), lm(sequence)
    one, other = runtime.start(), runtime.start()
    slots, _ = one.join(LMInputs(), sequence[:, :, :5], NUM_STEPS)
    others, _ = other.join(LMInputs(), sequence[:, :, :1], NUM_STEPS)
    for step in range(5, 9):
        assert_close(other.step(others, sequence[:, :, step - 4]), expected[:, :, step - 4])
        assert_close(one.step(slots, sequence[:, :, step]), expected[:, :, step])


@pytest.mark.parametrize("change", ["cast", "load"])
def test_weights_that_were_replaced_are_noticed(change):
    """A graph would read the memory that the old ones had."""
    lm, sequence = lively(MODELS["released"]), sequence_of()
    runtime = StaticRuntime(lm)
    logits_of(runtime, sequence, LMInputs(), 3)
    if change == "cast":
        lm.to(torch.bfloat16)
    else:
        lm.load_state_dict({name: 0.9 * tensor for name, tensor in lm.state_dict().items()}, assign=True)
    assert_close(logits_of(runtime, sequence, LMInputs(), 3), lm(sequence)[:, :, 2:])


def test_more_steps_than_were_asked_for_are_refused():
    lm, sequence = lively(MODELS["released"]), sequence_of()
    session = StaticRuntime(lm).start()
    slots, _ = session.join(inputs_of(lm, 1, ("prefix",)), sequence[:, :, :4], 5)
    session.step(slots, sequence[:, :, 4])
    with pytest.raises(InvalidRequest, match="step 9 does not fit"):
        session.step(slots, sequence[:, :, 5])
    with pytest.raises(InvalidRequest, match="6 known steps do not fit"):
        session.join(LMInputs(), sequence[:, :, :6], 5)


def test_more_steps_than_the_summed_condition_has_are_refused():
    lm, sequence = lively(MODELS["released"]), sequence_of()
    session = StaticRuntime(lm).start()
    inputs = LMInputs(sum=torch.randn(1, 5, 64), prefix=torch.randn(1, 2, 64))
    slots, _ = session.join(inputs, sequence[:, :, :4], 9)
    session.step(slots, sequence[:, :, 4])
    with pytest.raises(InvalidRequest, match="fewer steps than the sequence"):
        session.step(slots, sequence[:, :, 5])


def test_a_step_done_three_times_leaves_the_memory_as_done_once(monkeypatch):
    """A graph is recorded after runs that warm it up, in the same memory."""
    lm = lively(MODELS["all new"])
    inputs, sequence = inputs_of(lm, 3), sequence_of(3)
    expected = logits_of(StaticRuntime(lm), sequence, inputs, 2)
    run = GraphCache.run

    def run_three_times(cache, key, work):
        for _ in range(3):
            run(cache, key, work)

    monkeypatch.setattr(GraphCache, "run", run_three_times)
    assert torch.equal(logits_of(StaticRuntime(lm), sequence, inputs, 2), expected)
