"""Typed prompts: which claims count as fulfilled, and what chance gives."""

import pytest

from descant.evaluation.instruments import FAMILY_TAGS, FamilyThreshold
from starter_corpus.reports.measures import ClipMeasures
from starter_corpus.reports.typed import PROMPTS, TypedPrompt, claims_fulfilled, markdown, typed_report

FAMILIES = tuple(FAMILY_TAGS)
SCORES = dict.fromkeys(FAMILIES, 0.5)


def thresholds(*, unreliable=()):
    return {
        family: FamilyThreshold(
            score=0.5, separation=0.5 if family in unreliable else 0.9, recall=0.8, num_with=10, num_without=10
        )
        for family in FAMILIES
    }


def measures(*families, tempo=None, onsets=4.0):
    scores = {family: 0.9 if family in families else 0.1 for family in FAMILIES}
    return ClipMeasures(tempo_bpm=tempo, scores=scores, flatness=0.1, onsets_per_second=onsets)


def test_each_claim_of_a_prompt_is_scored_separately():
    prompt = TypedPrompt(text="x", families=("piano", "drums"), pace="slow", mode="minor", bpm=120.0)
    fulfilled = claims_fulfilled(prompt, measures("piano", tempo=120.0, onsets=2.0), "A minor", SCORES, 4.0)
    assert fulfilled == {"instrument": 0.5, "pace": 1, "mode": 1, "tempo": 1}
    fulfilled = claims_fulfilled(prompt, measures("flute", tempo=240.0, onsets=6.0), "A major", SCORES, 4.0)
    assert fulfilled == {"instrument": 0, "pace": 0, "mode": 0, "tempo": 0}


def test_what_a_prompt_does_not_claim_is_not_scored():
    assert claims_fulfilled(TypedPrompt(text="x", mode="major"), measures(), "C major", SCORES, 4.0) == {"mode": 1}


def test_a_model_that_follows_scores_above_one_that_does_not():
    prompts = [TypedPrompt(text=family, families=(family,)) for family in ("piano", "guitar", "harp")]
    following = typed_report(prompts, [[(measures(p.text), "C major")] * 2 for p in prompts], thresholds(), 4.0)
    assert following["fulfilled"].value == following["more_than_half"].value == 1
    assert following["fulfilled_shuffled"].value == 0
    assert following["by_prompt"] == {"piano": 1, "guitar": 1, "harp": 1}
    ignoring = typed_report(prompts, [[(measures("piano"), "C major")] * 2 for _ in prompts], thresholds(), 4.0)
    assert ignoring["fulfilled"].value == pytest.approx(1 / 3)
    assert ignoring["difference"].value == pytest.approx(0)
    assert "| instrument" in markdown({"model": "m", "num_seeds": 2, **ignoring})


def test_the_clips_of_a_prompt_are_one_observation():
    prompts = [TypedPrompt(text=family, families=(family,)) for family in ("piano", "guitar")]
    report = typed_report(prompts, [[(measures(p.text), "C major")] * 30 for p in prompts], thresholds(), 4.0)
    assert report["fulfilled"].count == report["difference"].count == 2


def test_families_that_the_tagger_does_not_recognise_reliably_are_not_scored():
    prompts = [
        TypedPrompt(text="a", families=("piano", "harp")),
        TypedPrompt(text="b", families=("harp",)),
        TypedPrompt(text="c", families=("guitar",), mode="major"),
    ]
    clips = [[(measures("piano", "guitar"), "C major")] for _ in prompts]
    report = typed_report(prompts, clips, thresholds(unreliable=("harp",)), 4.0)
    assert report["by_prompt"] == {"a": 1, "c": 1}


def test_the_prompts_name_only_families_with_a_tag_and_are_all_different():
    assert {family for prompt in PROMPTS for family in prompt.families} <= FAMILY_TAGS.keys()
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS)
