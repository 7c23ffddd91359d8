"""Typed prompts: what counts as kept, and what chance gives."""

import pytest

from descant.evaluation.instruments import FamilyThreshold
from descant.studies.starter_report import Heard
from descant.studies.typed_report import PROMPTS, TypedPrompt, claims_kept, markdown, typed_report

THRESHOLDS = {
    family: FamilyThreshold(score=0.5, separation=0.9, recall=0.8, num_with=10, num_without=10)
    for family in ("piano", "guitar", "strings", "flute", "harp", "choir", "drums", "synth")
}


def heard(*families, tempo=None, onsets=4.0):
    scores = {family: 0.9 if family in families else 0.1 for family in THRESHOLDS}
    return Heard(tempo_bpm=tempo, scores=scores, flatness=0.1, onsets_per_second=onsets)


def test_each_thing_a_prompt_says_is_judged_by_itself():
    prompt = TypedPrompt(text="x", families=("piano", "drums"), pace="slow", mode="minor", bpm=120.0)
    kept = claims_kept(prompt, heard("piano", tempo=120.0, onsets=2.0), "A minor", THRESHOLDS, 4.0)
    assert kept == {
        "instrument piano": True, "instrument drums": False, "pace": True, "mode": True, "tempo": True
    }  # fmt: skip
    kept = claims_kept(prompt, heard("drums", tempo=240.0, onsets=6.0), "A major", THRESHOLDS, 4.0)
    assert kept == {
        "instrument piano": False, "instrument drums": True, "pace": False, "mode": False, "tempo": False
    }  # fmt: skip


def test_what_a_prompt_does_not_say_is_not_judged():
    assert claims_kept(TypedPrompt(text="x", mode="major"), heard(), "C major", THRESHOLDS, 4.0) == {"mode": True}


def test_a_model_that_obeys_is_told_from_one_that_does_not():
    prompts = [TypedPrompt(text=family, families=(family,)) for family in ("piano", "guitar", "harp")] * 2
    obeying = typed_report(prompts, [(heard(prompt.text), "C major") for prompt in prompts], THRESHOLDS, 4.0)
    assert obeying["kept"].value == obeying["most_kept"].value == 1
    assert obeying["kept_shuffled"].value == 0
    assert obeying["by_prompt"] == {"piano": 1, "guitar": 1, "harp": 1}
    deaf = typed_report(prompts, [(heard("piano"), "C major") for _ in prompts], THRESHOLDS, 4.0)
    assert deaf["kept"].value == pytest.approx(1 / 3)
    assert deaf["difference"].value == pytest.approx(0)
    assert "| instrument" in markdown({"model": "m", "num_seeds": 2, **deaf})


def test_the_prompts_name_only_families_that_can_be_judged_and_are_all_different():
    assert {family for prompt in PROMPTS for family in prompt.families} <= set(THRESHOLDS)
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS)
