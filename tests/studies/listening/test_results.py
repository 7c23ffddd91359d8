"""The analysis finds a known truth: the order of the systems, and the listeners who did not listen."""

import json
from dataclasses import replace

import numpy as np
import pytest

from descant import config
from descant.errors import DataError, InvalidRequest
from descant.studies.listening.files import Answers, read_answers, read_key
from descant.studies.listening.results import analyse, markdown
from descant.studies.listening.screening import agreement, screen
from tests.studies.listening.listeners import TRUTH, answers_by, careful, random_rater


@pytest.fixture
def group(key) -> list[Answers]:
    return [careful(key, f"careful{number}", number) for number in range(5)]


def score(results, system, scale="overall"):
    return next(one for one in results.scores if (one.system, one.scale) == (system, scale))


def test_the_order_of_the_systems_is_found_and_their_differences_are_clear(key, group):
    results = analyse(key, group)
    assert [one.system for one in results.scores if one.scale == "overall"] == ["good", "fair", "poor"]
    assert results.left_out == {}
    assert all(pair.is_clear and pair.estimate.value > 0 for pair in results.differences)
    for pair in results.differences:
        truth = TRUTH[pair.first] - TRUTH[pair.second]
        assert pair.estimate.low <= truth <= pair.estimate.high
        assert pair.estimate.value == pytest.approx(truth, abs=4)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_rater_is_left_out_and_careful_listeners_are_not(key, group, seed):
    random = random_rater(key, "random", seed)
    assert list(screen(key, [*group, random])) == ["random"]
    assert analyse(key, [*group, random]).num_listeners == 5
    assert analyse(key, [*group, random], keep_all=True).num_listeners == 6


def test_agreement_is_the_correlation_with_the_means_of_the_others_on_shared_clips():
    clips = [f"clip{number}" for number in range(6)]
    own = dict(zip([*clips, "mine alone"], (10.0, 80.0, 30.0, 40.0, 60.0, 20.0, 99.0), strict=True))
    first = dict(zip(clips, (20.0, 60.0, 20.0, 70.0, 50.0, 40.0), strict=True))
    second = dict(zip(clips[:5], (40.0, 90.0, 10.0, 20.0, 80.0), strict=True))
    means = [30, 75, 15, 45, 65, 40]
    expected = np.corrcoef([own[clip] for clip in clips], means)[0, 1]
    assert agreement("own", {"own": own, "first": first, "second": second}) == pytest.approx(expected)
    assert agreement("own", {"own": own, "second": dict(list(second.items())[:4])}) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_random_rater_who_passes_the_hidden_checks_disagrees_with_the_others(key, group, seed):
    rng = np.random.default_rng(seed)
    remembered = {clip.name: int(rng.integers(20, 101)) for clip in key.clips if clip.role == "rated"}
    random = answers_by(
        key, "random", lambda clip: 1 if clip.role == "anchor" else remembered[clip.source or clip.name]
    )
    assert "correlation" in screen(key, [*group, random])["random"]


def test_each_reason_to_leave_a_listener_out_is_named(key, group):
    def upside_down(clip):
        return 5 if clip.role == "anchor" else round(110 - TRUTH[clip.system])

    def likes_noise(clip):
        return 95 if clip.role == "anchor" else round(TRUTH[clip.system])

    def contradicts(clip):
        return 1 if clip.role == "anchor" else 99 if clip.role == "repeat" else round(TRUTH[clip.system])

    unusual = [
        answers_by(key, "upside down", upside_down),
        answers_by(key, "likes noise", likes_noise),
        answers_by(key, "contradicts", contradicts),
        answers_by(key, "constant", lambda clip: 1 if clip.role == "anchor" else 50),
    ]
    reasons = screen(key, [*group, *unusual])
    assert set(reasons) == {"upside down", "likes noise", "contradicts", "constant"}
    assert "correlation" in reasons["upside down"]
    assert "noise are rated 95" in reasons["likes noise"]
    assert "two ratings of one clip differ" in reasons["contradicts"]
    assert "correlation with the other listeners is 0.00" in reasons["constant"]


def test_of_two_listeners_who_disagree_both_are_kept(key):
    other = answers_by(key, "other", lambda clip: 5 if clip.role == "anchor" else round(110 - TRUTH[clip.system]))
    assert screen(key, [careful(key, "one", 1), other]) == {}


def test_means_are_those_of_the_rated_clips_alone(key, group):
    ratings = [answer.overall for one in group for answer in one.answers if answer.clip.startswith("good")]
    found = score(analyse(key, group), "good")
    assert found.mean.value == pytest.approx(np.mean(ratings))
    assert found.mean.count == len(ratings) == 60


def test_melody_ratings_come_from_the_prompts_with_a_melody(key, group):
    assert score(analyse(key, group), "fair", "melody").mean.count == 5 * 6


def test_an_interval_over_both_is_wider_than_over_either(key, group):
    for one in analyse(key, group).scores:
        width = one.mean.high - one.mean.low
        assert width > one.by_listener.high - one.by_listener.low
        assert width > one.by_prompt.high - one.by_prompt.low
        assert one.mean.low <= one.mean.value <= one.mean.high


def test_intervals_hold_the_truth_as_often_as_they_say(key):
    """Over 60 groups of listeners; the prompts are the same, so the interval over listeners alone is checked."""
    held = 0
    of_prompts = np.mean([np.random.default_rng(prompt).normal(0, 5) for prompt in range(12)])
    for number in range(60):
        group = [careful(key, f"{number}-{one}", 1_000 * number + one + 7) for one in range(12)]
        found = score(analyse(key, group, keep_all=True), "fair").by_listener
        held += found.low <= TRUTH["fair"] + of_prompts <= found.high
    assert 50 <= held <= 60


def test_two_equal_systems_have_no_clear_difference(key):
    rng = np.random.default_rng(0)
    group = [answers_by(key, f"same{number}", lambda _clip: int(rng.integers(40, 80))) for number in range(6)]
    unclear = [pair for pair in analyse(key, group, keep_all=True).differences if not pair.is_clear]
    assert len(unclear) >= 7  # of nine, each clear by chance with a probability of 5 %


def test_unfinished_answers_are_used_and_noted(key, group):
    unfinished = replace(group[0], answers=group[0].answers[:20])
    results = analyse(key, [unfinished, *group[1:]])
    assert results.notes == ["1 of 5 listeners did not finish; what they rated is used"]


def test_a_system_without_ratings_is_an_error(key, group):
    only_good = replace(group[0], answers=group[0].answers[:1])
    with pytest.raises(InvalidRequest, match="no listener has rated overall of 'fair'"):
        analyse(key, [only_good])


def test_an_error_names_the_way_out_when_nobody_is_left(key):
    with pytest.raises(InvalidRequest, match=r"none of 1 listeners is left.*keep_all=True"):
        analyse(key, [answers_by(key, "likes noise", lambda clip: 95 if clip.role == "anchor" else 40)])


def test_the_table_names_systems_scales_and_who_is_left_out(key, group):
    text = markdown(analyse(key, [*group, random_rater(key, "random", 1)]))
    for part in ("good - fair", "OVL", "REL", "MEL", "Left out: random", "5 listeners"):
        assert part in text


def written(folder, key, whole: Answers, **changes) -> list:
    config.write_json(key, folder / "key.json")
    data = {**config.to_dict(whole), **changes}
    (folder / "answers.json").write_text(json.dumps(data))
    return [folder / "answers.json"]


def test_answers_are_read_as_they_were_written(key, group, tmp_path):
    files = written(tmp_path, key, group[0])
    assert read_answers(read_key(tmp_path), files) == [group[0]]


FIRST = {"clip": "good0", "overall": 50, "relevance": 50, "melody": 50, "plays": 1}
BROKEN = {
    "foreign test": ({"test": "xyz"}, "belongs to test 'xyz'"),
    "no ratings": ({"answers": []}, "holds no ratings"),
    "unknown clip": ({"answers": [{**FIRST, "clip": "who"}]}, "rates 'who', which this test does not have"),
    "twice": ({"answers": [FIRST, FIRST]}, "rates 'good0' twice"),
    "too high": ({"answers": [{**FIRST, "overall": 101}]}, "overall=101: allowed are 1 to 100"),
    "not a number": ({"answers": [{**FIRST, "relevance": "good"}]}, "relevance='good': expected int"),
    "not played": ({"answers": [{**FIRST, "plays": 0}]}, "plays=0"),
    "no melody rating": ({"answers": [{**FIRST, "melody": None}]}, "'good0' has no melody rating"),
    "a melody rating": ({"answers": [{**FIRST, "clip": "good7"}]}, "has a melody rating, but"),
    "unknown key": ({"extra": 1}, "extra: unknown key"),
    "later version": ({"version": 2}, "version=2"),
}


@pytest.mark.parametrize(("changes", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_or_foreign_answer_file_is_a_named_error(key, group, tmp_path, changes, says):
    files = written(tmp_path, key, group[0], **changes)
    with pytest.raises(DataError, match=says) as caught:
        read_answers(key, files)
    assert "answers.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"RIFF"])
def test_a_file_that_holds_no_answers_is_a_named_error(key, tmp_path, content):
    (tmp_path / "answers.json").write_bytes(content)
    with pytest.raises(DataError, match=r"answers\.json"):
        read_answers(key, [tmp_path / "answers.json"])


def test_two_files_of_one_listener_and_missing_files_are_errors(key, group, tmp_path):
    files = written(tmp_path, key, group[0])
    with pytest.raises(DataError, match="both of listener 'careful0'"):
        read_answers(key, files * 2)
    with pytest.raises(DataError, match=r"no\.json"):
        read_answers(key, [tmp_path / "no.json"])
    with pytest.raises(DataError, match=r"holds no key\.json"):
        read_key(tmp_path / "elsewhere")
