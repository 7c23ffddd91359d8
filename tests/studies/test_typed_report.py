"""Typed prompts: what counts as kept, and what chance gives."""

import pytest

from descant.evaluation.instruments import FAMILY_TAGS, FamilyThreshold
from descant.studies.starter_report import Heard
from descant.studies.typed_report import PROMPTS, TypedPrompt, claims_kept, markdown, typed_report

FAMILIES = tuple(FAMILY_TAGS)
SCORE_OF = dict.fromkeys(FAMILIES, 0.5)


def thresholds(*, unreliable=()):
    return {
        family: FamilyThreshold(
            score=0.5, separation=0.5 if family in unreliable else 0.9, recall=0.8, num_with=10, num_without=10
        )
        for family in FAMILIES
    }


def heard(*families, tempo=None, onsets=4.0):
    scores = {family: 0.9 if family in families else 0.1 for family in FAMILIES}
    return Heard(tempo_bpm=tempo, scores=scores, flatness=0.1, onsets_per_second=onsets)


def test_each_thing_a_prompt_says_is_judged_by_itself():
    prompt = TypedPrompt(text="x", families=("piano", "drums"), pace="slow", mode="minor", bpm=120.0)
    kept = claims_kept(prompt, heard("piano", tempo=120.0, onsets=2.0), "A minor", SCORE_OF, 4.0)
    assert kept == {"instrument": 0.5, "pace": 1, "mode": 1, "tempo": 1}
    kept = claims_kept(prompt, heard("flute", tempo=240.0, onsets=6.0), "A major", SCORE_OF, 4.0)
    assert kept == {"instrument": 0, "pace": 0, "mode": 0, "tempo": 0}


def test_what_a_prompt_does_not_say_is_not_judged():
    assert claims_kept(TypedPrompt(text="x", mode="major"), heard(), "C major", SCORE_OF, 4.0) == {"mode": 1}


def test_a_model_that_obeys_is_told_from_one_that_does_not():
    prompts = [TypedPrompt(text=family, families=(family,)) for family in ("piano", "guitar", "harp")]
    obeying = typed_report(prompts, [[(heard(p.text), "C major")] * 2 for p in prompts], thresholds(), 4.0)
    assert obeying["kept"].value == obeying["more_kept_than_not"].value == 1
    assert obeying["kept_shuffled"].value == 0
    assert obeying["by_prompt"] == {"piano": 1, "guitar": 1, "harp": 1}
    deaf = typed_report(prompts, [[(heard("piano"), "C major")] * 2 for _ in prompts], thresholds(), 4.0)
    assert deaf["kept"].value == pytest.approx(1 / 3)
    assert deaf["difference"].value == pytest.approx(0)
    assert "| instrument" in markdown({"model": "m", "num_seeds": 2, **deaf})


def test_the_clips_of_a_prompt_are_one_observation():
    prompts = [TypedPrompt(text=family, families=(family,)) for family in ("piano", "guitar")]
    report = typed_report(prompts, [[(heard(p.text), "C major")] * 30 for p in prompts], thresholds(), 4.0)
    assert report["kept"].count == report["difference"].count == 2


def test_families_that_the_tagger_cannot_tell_are_not_judged():
    prompts = [
        TypedPrompt(text="a", families=("piano", "harp")),
        TypedPrompt(text="b", families=("harp",)),
        TypedPrompt(text="c", families=("guitar",), mode="major"),
    ]
    clips = [[(heard("piano", "guitar"), "C major")] for _ in prompts]
    report = typed_report(prompts, clips, thresholds(unreliable=("harp",)), 4.0)
    assert report["by_prompt"] == {"a": 1, "c": 1}


def test_the_prompts_name_only_families_that_a_tag_speaks_for_and_are_all_different():
    assert {family for prompt in PROMPTS for family in prompt.families} <= FAMILY_TAGS.keys()
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS)
