"""The laws of every codebook pattern, and the layouts and lengths of the paper's."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.config import from_dict, to_dict
from descant.errors import ConfigError
from descant.patterns import (
    CoarseFirst,
    Delay,
    Flatten,
    Grouped,
    PartialFlatten,
    deinterleave,
    delay,
    filled,
    frames_of_inputs,
    interleave,
    parallel,
    partial_delay,
    stereo_delay,
    stereo_partial_delay,
)

EMPTY = 99
laws = settings(deadline=None)  # a busy machine breaks no law


@st.composite
def builds(draw):
    """How to build a pattern: built in the test, as beartype draws random numbers, which a strategy must not."""
    num_codebooks = draw(st.integers(1, 8))
    delays = tuple(draw(st.lists(st.integers(0, 6), min_size=num_codebooks, max_size=num_codebooks)))
    group_size = draw(st.sampled_from([size for size in range(1, num_codebooks + 1) if num_codebooks % size == 0]))
    options = [
        partial(Delay, delays),
        partial(CoarseFirst, (0, *delays[1:])),
        partial(Flatten, num_codebooks),
        partial(PartialFlatten, num_codebooks),
        partial(Grouped, num_codebooks, group_size),
    ]
    return draw(st.sampled_from(options))


def codes_of(pattern, num_frames, batch=2):
    codes = torch.arange(num_frames) + 1000 * torch.arange(1, pattern.num_codebooks + 1)[:, None]
    return codes + 100_000 * torch.arange(batch)[:, None, None]


@laws
@given(builds(), st.integers(1, 12))
def test_interleaved_then_deinterleaved_is_the_same(build, num_frames):
    pattern = build()
    codes, steps = codes_of(pattern, num_frames), pattern.steps(num_frames)
    sequence = interleave(codes, steps, pattern.length(num_frames), EMPTY)
    assert torch.equal(deinterleave(sequence, steps), codes)


@laws
@given(builds(), st.integers(1, 12))
def test_every_code_has_a_cell_of_its_own_and_step_0_has_none(build, num_frames):
    pattern = build()
    length = pattern.length(num_frames)
    sequence = interleave(codes_of(pattern, num_frames), pattern.steps(num_frames), length, EMPTY)
    cells = filled(pattern.steps(num_frames), length)
    assert cells.shape == (pattern.num_codebooks, length)
    assert (cells.sum(dim=1) == num_frames).all()
    assert not cells[:, 0].any()
    assert cells[:, -1].any()
    assert torch.equal(sequence != EMPTY, cells.expand_as(sequence))


@laws
@given(builds(), st.integers(2, 12))
def test_no_code_is_predicted_before_its_own_past(build, num_frames):
    pattern = build()
    assert (pattern.steps(num_frames).diff(dim=1) > 0).all()


@laws
@given(builds(), st.integers(1, 12), st.integers(1, 20))
def test_a_sequence_cut_short_is_the_start_of_the_whole(build, num_frames, cut):
    pattern = build()
    codes, steps = codes_of(pattern, num_frames), pattern.steps(num_frames)
    length = pattern.length(num_frames)
    cut = min(cut, length)
    assert torch.equal(interleave(codes, steps, cut, EMPTY), interleave(codes, steps, length, EMPTY)[:, :, :cut])
    assert torch.equal(filled(steps, cut), filled(steps, length)[:, :cut])


@laws
@given(builds(), st.integers(1, 12))
def test_only_delay_ends_its_training_sequence_early(build, num_frames):
    pattern = build()
    expected = num_frames + 1 if isinstance(pattern, Delay) else pattern.length(num_frames)
    assert pattern.training_length(num_frames) == expected


@laws
@given(builds(), st.integers(1, 12))
def test_an_input_step_stands_where_the_step_after_it_leads(build, num_frames):
    pattern = build()
    steps, length = pattern.steps(num_frames), pattern.length(num_frames)
    frames = frames_of_inputs(steps, length)
    assert len(frames) == length
    for step in range(length - 1):
        led_to = (steps == step + 1).nonzero()[:, 1]
        assert frames[step] == (led_to.max() if len(led_to) else frames[step - 1] if step else 0)


def test_a_second_pass_over_the_frames_begins_at_the_first():
    pattern = CoarseFirst((0, 0, 0))
    frames = frames_of_inputs(pattern.steps(4), pattern.length(4))
    assert frames.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 3]


@laws
@given(builds())
def test_a_pattern_comes_back_from_its_dictionary(build):
    pattern = build()
    assert from_dict(type(pattern), to_dict(pattern)) == pattern


@pytest.mark.parametrize(
    ("pattern", "length"),
    [
        (delay(4), 1504),
        (partial_delay(4), 1502),
        (parallel(4), 1501),
        (Flatten(4), 6001),
        (PartialFlatten(4), 3001),
        (CoarseFirst((0, 0, 0, 0)), 3001),
        (stereo_partial_delay(8), 1504),
        (stereo_delay(8), 1508),
        (Grouped(4, 2), 6001),
    ],
    ids=repr,
)
def test_thirty_seconds_take_the_steps_of_the_paper(pattern, length):
    assert pattern.length(1500) == length


@pytest.mark.parametrize(
    ("pattern", "valid"),
    [
        (delay(4), [1500, 1499, 1498, 1497]),
        (partial_delay(4), [1500, 1499, 1499, 1499]),
        (stereo_partial_delay(8), [1500, 1500, 1499, 1499, 1498, 1498, 1497, 1497]),
        (CoarseFirst((0, 0, 1, 2)), [1500] * 4),
    ],
    ids=repr,
)
def test_training_leaves_out_the_tails_of_delayed_codebooks(pattern, valid):
    cells = filled(pattern.steps(1500), pattern.training_length(1500))
    assert cells.sum(dim=1).tolist() == valid


LAYOUTS = {
    delay(4): ["_1234___", "__1234__", "___1234_", "____1234"],
    partial_delay(4): ["_1234_", "__1234", "__1234", "__1234"],
    parallel(2): ["_1234", "_1234"],
    Flatten(4): ["_1___2___3___4___", "__1___2___3___4__", "___1___2___3___4_", "____1___2___3___4"],
    PartialFlatten(4): ["_1_2_3_4_", "__1_2_3_4", "__1_2_3_4", "__1_2_3_4"],
    CoarseFirst((0, 0, 1)): ["_1234_____", "_____1234_", "______1234"],
    Grouped(4, 2): ["_1_2_3_4_________", "__1_2_3_4________", "_________1_2_3_4_", "__________1_2_3_4"],
    stereo_delay(4): ["_1234___", "__1234__", "___1234_", "____1234"],
    stereo_partial_delay(4): ["_1234_", "_1234_", "__1234", "__1234"],
}


@pytest.mark.parametrize("pattern", LAYOUTS, ids=repr)
def test_four_frames_are_laid_out_as_drawn(pattern):
    codes = torch.arange(1, 5).expand(1, pattern.num_codebooks, 4)
    sequence = interleave(codes, pattern.steps(4), pattern.length(4), 0)[0]
    assert ["".join("_1234"[code] for code in row) for row in sequence.tolist()] == LAYOUTS[pattern]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Delay(()),
        lambda: Delay((0, -1)),
        lambda: CoarseFirst((1, 0)),
        lambda: Flatten(0),
        lambda: Grouped(4, 3),
        lambda: stereo_delay(3),
        lambda: stereo_partial_delay(5),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(build):
    with pytest.raises(ConfigError):
        build()
