"""The guidance formula and its ends."""

import torch

from descant.generation.guidance import guide


def test_guidance_at_its_ends_is_either_side_and_beyond_goes_further():
    towards, against = torch.randn(3, 2, 5).double(), torch.randn(3, 2, 5).double()
    scale = torch.tensor([0.0, 1.0, 3.0]).double().reshape(-1, 1, 1)
    guided = guide(towards, against, scale)
    assert torch.equal(guided[0], against[0])
    torch.testing.assert_close(guided[1], towards[1])
    torch.testing.assert_close(guided[2], 3 * towards[2] - 2 * against[2])


def test_a_row_pushed_away_from_itself_stays_as_it_is_to_the_last_bit():
    rows = torch.randn(4, 2, 50)
    assert torch.equal(guide(rows, rows, torch.full((4, 1, 1), 7.3)), rows)
