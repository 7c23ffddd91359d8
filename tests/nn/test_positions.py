"""Sinusoidal and rotary positions."""

import math

import torch

from descant.nn.positions import rotary, rotate, sinusoidal


def test_positions_are_cosines_then_sines_with_a_slowest_period_of_ten_thousand():
    table = sinusoidal(2_000, 8)
    for step in (0, 1, 7, 1_999):
        for wave in range(4):
            phase = step / 10_000 ** (wave / 3)
            assert math.isclose(table[step, wave], math.cos(phase), abs_tol=2e-4)
            assert math.isclose(table[step, 4 + wave], math.sin(phase), abs_tol=2e-4)


def test_positions_from_a_later_start_are_the_tail_of_those_from_the_first():
    assert torch.equal(sinusoidal(10, 6, start=5), sinusoidal(15, 6)[5:])


def test_positions_are_computed_in_full_precision_whatever_the_default():
    torch.set_default_dtype(torch.float16)
    try:
        table = sinusoidal(1_500, 64)
    finally:
        torch.set_default_dtype(torch.float32)
    assert table.dtype == torch.float32
    assert torch.equal(table, sinusoidal(1_500, 64))


def test_rotary_scores_depend_on_the_distance_of_two_steps_alone():
    table = rotary(60, 8)
    query, key = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)

    def score(at: int, seen: int) -> torch.Tensor:
        return (rotate(query, table[at : at + 1]) * rotate(key, table[seen : seen + 1])).sum(dim=-1)

    torch.testing.assert_close(score(7, 3), score(47, 43), rtol=0, atol=1e-5)
    torch.testing.assert_close(score(0, 0), (query * key).sum(dim=-1))
    assert not torch.allclose(score(7, 3), score(7, 4), atol=1e-3)


def test_rotary_positions_rotate_and_never_stretch():
    vectors = torch.randn(1, 2, 50, 8)
    rotated = rotate(vectors, rotary(50, 8))
    torch.testing.assert_close(rotated.norm(dim=-1), vectors.norm(dim=-1))
    assert torch.equal(rotated[:, :, 0], vectors[:, :, 0])
