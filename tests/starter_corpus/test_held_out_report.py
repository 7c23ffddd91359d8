from pathlib import Path

import pytest

from descant.errors import InvalidRequest
from descant.evaluation.instruments import FAMILY_TAGS, FamilyThreshold
from starter_corpus.reports.measures import ClipMeasures, instrument_report, tempo_report
from starter_corpus.reports.prompts import Prompt

SURE = FamilyThreshold(score=0.5, separation=0.9, recall=0.9, num_with=50, num_without=50)
UNSURE = FamilyThreshold(score=0.5, separation=0.6, recall=0.3, num_with=50, num_without=50)
THRESHOLDS = {"piano": SURE, "flute": SURE, "harp": UNSURE}


def prompt(bpm=None, has_drums=True, families=()):
    return Prompt(
        text="", seed=0, bpm=bpm, has_drums=has_drums, families=families, reference=Path("clip.wav"), offset_s=0.0
    )


def measures(tempo_bpm=None, **scores):
    return ClipMeasures(tempo_bpm, dict.fromkeys(FAMILY_TAGS, 0.0) | scores, 0.01, 2.0)


def test_tempo_counts_prompts_that_state_one_and_have_drums():
    prompts = [prompt(100.0), prompt(120.0), prompt(140.0), prompt(90.0, has_drums=False), prompt(None)]
    report = tempo_report(prompts, [measures(104.0), measures(60.0), measures(155.0), measures(90.0), measures(100.0)])
    assert (report["within_5_percent"].value, report["within_5_percent"].count) == (pytest.approx(1 / 3), 3)
    assert report["octave_errors"].value == pytest.approx(1 / 3)
    assert report["matches"] == {"same": 1, "half": 1, "other": 1}


def test_shuffled_tempo_compares_each_clip_with_every_other_prompt():
    report = tempo_report(
        [prompt(100.0), prompt(100.0), prompt(150.0)], [measures(100.0), measures(77.0), measures(100.0)]
    )
    # Clip 0 fits one of the two other prompts, clip 1 neither, clip 2 both.
    assert report["within_5_percent_shuffled"].value == pytest.approx(0.5)


def test_a_model_that_follows_its_prompts_differs_from_shuffled_prompts():
    prompts = [prompt(families=("piano",)), prompt(families=("flute",))] * 8
    following = [measures(piano=0.9), measures(flute=0.9)] * 8
    report = instrument_report(prompts, following, THRESHOLDS)
    assert report["recognised"].value == 1
    assert report["recognised_shuffled"].value == pytest.approx(7 / 15)
    assert report["difference"].low > 0
    assert report["by_family"]["piano"]["count"] == 8


def test_a_model_that_always_plays_the_same_does_not_differ_from_shuffled_prompts():
    prompts = [prompt(families=("piano",)), prompt(families=("flute",))] * 8
    report = instrument_report(prompts, [measures(piano=0.9)] * 16, THRESHOLDS)
    assert report["recognised"].value == report["recognised_shuffled"].value == pytest.approx(0.5)


def test_families_that_the_tagger_does_not_recognise_reliably_are_not_scored():
    prompts = [prompt(families=("piano", "harp")), prompt(families=("flute", "brass")), prompt(families=("harp",))]
    report = instrument_report(prompts, [measures(piano=0.9), measures(flute=0.9), measures()], THRESHOLDS)
    assert (report["recognised"].value, report["recognised"].count) == (1, 2)
    assert set(report["by_family"]) == {"piano", "flute"}


def test_too_few_prompts_to_shuffle_are_refused():
    with pytest.raises(InvalidRequest, match="tempo"):
        tempo_report([prompt(100.0)], [measures(100.0)])
    with pytest.raises(InvalidRequest, match="family"):
        instrument_report([prompt(families=("harp",))], [measures()], THRESHOLDS)
