import pytest
import torch

from descant.errors import InvalidRequest
from descant.evaluation.embedders import TAGS
from descant.evaluation.instruments import FAMILY_TAGS, calibrate, families_named, family_scores

FAMILY_OF = {
    "bass guitar": "bass",
    "guitar": "guitar",
    "piano": "piano",
    "synth strings": "synth",
    "strings": "strings",
}


def scores_of(**scores):
    return dict.fromkeys(FAMILY_TAGS, 0.0) | scores


def test_the_tags_of_every_family_exist():
    assert {tag for tags in FAMILY_TAGS.values() for tag in tags} <= set(TAGS)


def test_the_score_of_a_family_is_its_strongest_tag():
    probabilities = torch.zeros(50)
    probabilities[TAGS.index("cello")], probabilities[TAGS.index("violin")] = 0.5, 0.25
    assert family_scores(probabilities)["strings"] == 0.5


def test_one_clip_in_five_without_the_family_passes_its_threshold():
    clips = [scores_of(flute=index / 100) for index in range(100)]
    present = [{"flute"} if index >= 50 else set() for index in range(100)]
    flute = calibrate(clips, present)["flute"]
    assert sum(clip["flute"] > flute.score for clip in clips[:50]) == 10
    assert flute.recall == flute.separation == 1


def test_a_family_with_random_scores_is_not_reliable():
    clips = [scores_of(harp=index % 10 / 10) for index in range(100)]
    present = [{"harp"} if index < 50 else set() for index in range(100)]
    harp = calibrate(clips, present)["harp"]
    assert harp.separation == pytest.approx(0.5)
    assert not harp.is_reliable


def test_a_family_with_few_clips_is_left_out():
    clips = [scores_of() for _ in range(100)]
    assert "choir" not in calibrate(clips, [{"choir"} if index < 9 else set() for index in range(100)])


def test_contents_and_clips_must_have_equal_lengths():
    with pytest.raises(InvalidRequest, match="1 clips"):
        calibrate([scores_of()], [])


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("Bass guitar and piano", {"bass", "piano"}),
        ("two guitars over synth strings", {"guitar", "synth"}),
        ("pianissimo, stringy", set()),
    ],
)
def test_a_text_names_the_families_of_its_longest_names(text, families):
    assert families_named(text, FAMILY_OF) == families
