"""The guidance formula and its ends; the terms of a batch."""

import torch

from descant.generation.guidance import GuidanceRows, guide


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


def test_the_terms_of_a_batch_are_applied_to_each_job_as_if_alone():
    """Rows 0 to 2 are the jobs' own, 3 and 4 the first negative rows of jobs 0 and 1, row 5 the second of job 0."""
    logits = torch.randn(6, 2, 5)
    first = GuidanceRows([(4.0, 1.5, 2.0), (3.0,)], first_row=3, device=torch.device("cpu"))
    second = GuidanceRows([(7.0,)], first_row=5, device=torch.device("cpu"))
    for step, scale in ((0, 4.0), (1, 1.5), (2, 2.0), (9, 2.0)):
        steps = [step, 50 - step, 5]
        guided = second.apply(first.apply(logits[:3], logits, steps), logits, steps)
        once = guide(logits[0], logits[3], torch.tensor([scale]))
        assert torch.equal(guided[0], guide(once, logits[5], torch.tensor([7.0])))
        assert torch.equal(guided[1], guide(logits[1], logits[4], torch.tensor([3.0])))
        assert torch.equal(guided[2], logits[2])
