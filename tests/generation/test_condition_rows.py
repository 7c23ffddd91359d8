"""Which rows guidance needs, what each leaves out, and how strong it is at each step."""

import pytest
import torch

from descant.conditioning.chroma import MelodyConfig
from descant.generation.condition_rows import ConditionRow, rows_of, scales_by_step
from descant.generation.plan import Section
from descant.generation.request import Guidance, Request
from descant.generation.resolve import Resolver

LEVELS = torch.full((4, 12), 7)
SECTION = Section(100, "drums, 120 bpm", beats=3.0)


@pytest.fixture(scope="module")
def rows(make_model):
    model = make_model(melody=MelodyConfig(sample_rate_hz=8_000, window_samples=256, hop_samples=128, fusion="sum"))

    def of(**fields) -> list[ConditionRow]:
        return rows_of(Resolver(model).resolve(Request(duration_s=1.0, seed=1, **fields)), SECTION)

    return of


def test_plain_sampling_needs_one_row(rows):
    assert [row.scales for row in rows(guidance=Guidance(scale=1.0))] == [()]


def test_the_melody_term_leaves_out_the_melody_and_comes_before_the_negative_text(rows):
    guidance = Guidance(scale=3.0, melody_scale=2.0, schedule=((1.0, 1.0),))
    positive, without_melody, negative = rows(melody_chroma=LEVELS, negative_text="noise", guidance=guidance)
    assert positive.conditions["text"] == "drums, 120 bpm"
    assert torch.equal(positive.conditions["melody"], LEVELS)
    assert without_melody.conditions == {"text": "drums, 120 bpm", "melody": None}
    assert without_melody.section == positive.section == SECTION
    assert without_melody.scales == ((0.0, 2.0),)
    assert negative == ConditionRow({"text": "noise"}, Section(0, "noise"), ((0.0, 3.0), (1.0, 1.0)))


def test_scales_move_linearly_between_their_points_and_stay_at_the_last():
    seconds = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 9.0])
    scales = scales_by_step(((0.0, 3.0), (1.0, 1.0), (2.0, 2.0)), seconds)
    # One step later than the inputs.
    assert scales == (3.0, 3.0, 2.0, 1.0, 1.5, 2.0)
    assert scales_by_step(((0.0, 3.0),), seconds) == (3.0,)
