"""What a text leaves open is drawn as its words suggest, and what it states is kept."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from descant.checkpoints.native import starter_folder
from descant.checkpoints.prior_file import read_prior
from descant.conditioning.tempo_key_prior import TempoKeyPrior
from descant.errors import ConfigError
from descant.tempo_key import NUM_KEYS

MADE = TempoKeyPrior(
    tempi_bpm=(50.0, 100.0, 200.0),
    tempo_weights=(0.0, 0.0, 0.0),
    metres=("4/4", "6/8"),
    metre_weights=(2.0, 0.0),
    metre_tempo_weights=((0.0, 0.0), (0.0, -9.0)),
    minor_weight=-1.0,
    key_weights=(0.0,) * NUM_KEYS,
    words={"slow": [-4.0, 0.0, 0.0, 0.0, 0.0], "sad": [0.0, 0.0, 3.0, 0.0, 0.0], "jig": [0.0, 0.0, 0.0, -9.0, 9.0]},
)
SEEDS = range(2_000)


@pytest.fixture(scope="module")
def shipped() -> TempoKeyPrior:
    prior = read_prior(starter_folder())
    assert prior is not None
    return prior.tempo_key


def median(prior: TempoKeyPrior, text: str, metre: str = "4/4") -> float:
    shares = prior.tempo_distribution(text, metre).cumsum()
    return prior.tempi_bpm[int((shares < 0.5).sum())]


def middle(shares: np.ndarray) -> np.ndarray:
    """What a distribution becomes if its lowest and highest tenth are left out."""
    return np.diff(np.concatenate([[0.0], shares.cumsum()]).clip(0.1, 0.9)) / 0.8


def test_draws_follow_the_distributions_of_tempi_in_their_middle():
    text = "a slow, sad song"
    drawn = [MADE.draw(text, seed) for seed in SEEDS]
    shares = {bpm: count / len(SEEDS) for bpm, count in Counter(of.bpm for of, _ in drawn).items()}
    in_metre = {metre: middle(MADE.tempo_distribution(text, metre)) for metre in MADE.metres}
    expected = sum(
        share * in_metre[metre] for metre, share in zip(MADE.metres, MADE.metre_distribution(text), strict=True)
    )
    for bpm, share in zip(MADE.tempi_bpm, expected, strict=True):
        assert shares.get(bpm, 0) == pytest.approx(share, abs=0.04)
    assert sum(of.is_minor for of, _ in drawn) / len(SEEDS) == pytest.approx(MADE.minor_probability(text), abs=0.04)
    assert MADE.minor_probability(text) == pytest.approx(1 / (1 + math.exp(-2)))
    tonics = Counter(of.key % 12 for of, _ in drawn)
    assert max(abs(tonics[tonic] / len(SEEDS) - 1 / 12) for tonic in range(12)) < 0.03


def test_a_metre_has_its_own_tempi():
    assert {MADE.draw("jig", seed)[1] for seed in SEEDS[:100]} == {"6/8"}
    assert {MADE.draw("jig", seed)[0].bpm for seed in SEEDS[:100]} == {100.0}
    assert MADE.draw("jig in 4/4", 0)[1] == "4/4"
    # A metre that the corpus does not have has the tempi of all.
    assert MADE.tempo_distribution("", "7/8") == pytest.approx([1 / 3] * 3)


def test_what_a_text_states_is_kept_and_changes_nothing_else():
    for seed in SEEDS[:50]:
        plain, metre = MADE.draw("slow song", seed)
        assert MADE.draw("slow song", seed) == (plain, metre)
        assert MADE.draw("slow song, 77 bpm", seed) == (replace(plain, bpm=77.0), metre)
        keyed, _ = MADE.draw("slow song in F# minor", seed)
        assert (keyed.bpm, keyed.key, keyed.is_minor) == (plain.bpm, 18, True)
        minor, _ = MADE.draw("slow song in a minor key", seed)
        assert (minor.bpm, minor.is_minor, minor.key % 12) == (plain.bpm, True, plain.key % 12)


def test_words_that_the_corpus_does_not_have_change_nothing():
    assert [MADE.draw("SLOW, xqzt 4 you!", seed) for seed in SEEDS[:50]] == [MADE.draw("slow", s) for s in SEEDS[:50]]


def test_the_shipped_prior_leans_as_listeners_expect(shipped):
    assert shipped.minor_probability("a sad song") > 0.8 > 0.4 > shipped.minor_probability("") > 0.2
    assert shipped.minor_probability("a cheerful song") < 0.1
    assert shipped.minor_probability("a gloomy song") > 0.8
    assert dict(zip(shipped.metres, shipped.metre_distribution("Irish jig on the flute"), strict=True))["6/8"] > 0.7
    assert 90 < median(shipped, "Irish jig on the flute", "6/8") < 116
    assert median(shipped, "slow piano") < 80 < 100 < median(shipped, "piano") < 130 < median(shipped, "fast piano")
    assert median(shipped, "slowly played piano") < 80


@pytest.mark.parametrize(
    "change",
    [
        {"tempi_bpm": ()},
        {"tempi_bpm": (0.0, 1.0, 2.0)},
        {"tempo_weights": (0.0,)},
        {"key_weights": (0.0,) * 12},
        {"words": {"slow": [0.0]}},
        {"words": {"slow": [math.inf] * 5}},
    ],
)
def test_tables_of_other_sizes_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(MADE, **change)
