from collections import Counter

import pytest

from starter_corpus.band import BandPlan
from starter_corpus.pieces import plan_piece, planned_duration_s
from starter_corpus.score import FRAME_SAMPLES
from starter_corpus.styles import STYLES
from starter_corpus.tunes import tunes

NUM_PLANS = 2_000


pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def plans():
    return [plan_piece(0, index) for index in range(NUM_PLANS)]


def test_valid_shares_no_source_with_train(plans):
    sources = {split: {plan.source for plan in plans if plan.split == split} for split in ("train", "valid")}
    assert sources["valid"]
    assert not sources["train"] & sources["valid"]


def test_groove_pieces_of_valid_share_no_chord_progression_with_those_of_train(plans):
    bands = [plan for plan in plans if isinstance(plan, BandPlan)]
    names = {
        split: {one.name for plan in bands if plan.split == split for one in (plan.progression, plan.second[1])}
        for split in ("train", "valid")
    }
    assert names["valid"]
    assert not names["train"] & names["valid"]


def test_tunes_of_one_title_are_in_one_split_in_all_collections():
    splits = {}
    for tune in tunes():
        splits.setdefault(tune.title.lower(), set()).add(tune.split)
    assert {frozenset(split) for split in splits.values()} == {frozenset({"train"}), frozenset({"valid"})}


def test_about_one_piece_in_twenty_is_valid(plans):
    assert 0.02 < sum(plan.split == "valid" for plan in plans) / NUM_PLANS < 0.08


def test_every_genre_can_be_learned_from_train():
    assert {style.genre for style in STYLES if style.split == "train"} == {style.genre for style in STYLES}


def test_pieces_last_twenty_to_fifty_seconds(plans):
    """An ending rings on for a moment after the 46 seconds of a form."""
    assert all(20 <= planned_duration_s(plan) <= 50 for plan in plans)


def test_most_band_pieces_have_phrases_that_return(plans):
    forms = [plan.form for plan in plans if isinstance(plan, BandPlan) and plan.form is not None]
    assert len(forms) / sum(isinstance(plan, BandPlan) for plan in plans) > 0.6
    returning = [form for form in forms if len(set(form.letters)) < len(form.letters)]
    assert len(returning) / len(forms) > 0.5


def test_nine_pieces_in_ten_have_a_beat_of_whole_frames(plans):
    locked = [plan for plan in plans if plan.tempo.is_locked]
    assert all(plan.tempo.samples_per_beat % FRAME_SAMPLES == 0 for plan in locked)
    assert len(locked) / NUM_PLANS == pytest.approx(0.9, abs=0.03)


def test_every_kind_of_piece_and_every_key_occurs(plans):
    kinds = Counter(type(plan).__name__ for plan in plans)
    assert kinds["BandPlan"] / NUM_PLANS == pytest.approx(0.6, abs=0.04)
    assert set(kinds) == {"BandPlan", "FolkPlan", "SketchPlan", "ChoralePlan"}
    keys = {(plan.tonic, plan.progression.is_minor) for plan in plans if isinstance(plan, BandPlan)}
    assert len(keys) == 24


def test_a_plan_depends_on_the_seed_and_its_index_alone(plans):
    assert plan_piece(0, 1_234) == plans[1_234]
    assert plan_piece(1, 1_234) != plans[1_234]
