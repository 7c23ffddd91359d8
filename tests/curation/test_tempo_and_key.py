"""Tempo and key of music that states them plainly, and what the weights come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from descant.audio import Clip
from descant.curation.key import KEYS, estimate_key, key_features, relative
from descant.curation.tempo import SAMPLE_RATE_HZ, TEMPI_BPM, estimate_tempo, log_loudness, tempo_features, tempo_of
from descant.evaluation.harmony import pitch_classes
from starter_corpus.reports.estimators import Examples, fit_choice, fit_network, key_targets, tempo_targets
from tests.curation.music import song

CASES = [(84.0, 2), (100.0, 7), (120.0, 9), (133.0, 4)]


@pytest.mark.parametrize(("bpm", "tonic"), CASES)
def test_tempo_and_key_of_plain_music_are_found(bpm, tonic):
    clip = song(int(bpm), 15.0, bpm=bpm, tonic=tonic)
    tempo = estimate_tempo(clip.resample(SAMPLE_RATE_HZ).samples[0])
    assert tempo.bpm == pytest.approx(bpm, rel=0.01)
    key = estimate_key(clip)
    assert key.name == KEYS[tonic]
    assert 0.3 < key.confidence <= key.confidence_with_relative <= 1


def test_what_has_no_tempo_or_key_has_none():
    assert estimate_tempo(torch.zeros(10 * SAMPLE_RATE_HZ)) is None
    assert estimate_tempo(torch.rand(SAMPLE_RATE_HZ)) is None
    # At the rate of the estimate the clip would have no sample.
    assert tempo_of(Clip([[0.5]], 32_000)) is None
    silent = Clip(samples=torch.zeros(1, 10 * SAMPLE_RATE_HZ), sample_rate_hz=SAMPLE_RATE_HZ)
    assert estimate_key(silent) is None


def test_a_key_and_its_relative_have_the_same_notes():
    assert KEYS[relative(KEYS.index("C major"))] == "A minor"
    assert KEYS[relative(KEYS.index("F# minor"))] == "A major"
    assert all(relative(relative(key)) == key for key in range(24))


def test_weights_fitted_to_music_with_known_tempo_find_the_tempo_of_other_music():
    """The fit alone decides between a tempo and its half and double: the features are the same for all of them."""
    tempi = (75.0, 90.0, 104.0, 125.0, 140.0)
    features = [
        tempo_features(log_loudness(song(seed, 8.0, bpm=bpm).resample(SAMPLE_RATE_HZ).samples[0]))
        for seed, bpm in enumerate(tempi)
    ]
    network = fit_network(Examples(np.stack(features), tempo_targets(tempi)), num_epochs=300)
    other = tempo_features(log_loudness(song(99, 8.0, bpm=112.0).resample(SAMPLE_RATE_HZ).samples[0]))
    assert TEMPI_BPM[network.scores(other).argmax()] == pytest.approx(112.0, rel=0.02)
    opposite = replace(network, output=-network.output)
    assert TEMPI_BPM[opposite.scores(features[0]).argmax()] != pytest.approx(75.0, rel=0.02)


def test_weights_fitted_to_keys_find_a_key_that_was_not_among_them():
    tonics = (0, 2, 5, 7)
    features = [key_features(pitch_classes(song(tonic, 8.0, tonic=tonic))) for tonic in tonics]
    weights = fit_choice(Examples(np.stack(features), key_targets(tonics)), penalty=0.1)
    assert int(np.argmax(key_features(pitch_classes(song(50, 8.0, tonic=10))) @ weights)) == 10
