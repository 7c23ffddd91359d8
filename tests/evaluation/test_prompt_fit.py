"""Clips of known tempo, key and melody, scored against prompts."""

import pytest
import torch

from descant.audio import Clip
from descant.evaluation.prompt_fit import Fit, fit, key_fit, tempo_fit
from descant.tempo_key import parse_tempo_key

RATE_HZ = 22_050
C_MAJOR = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))
needs_librosa = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("librosa"), reason="librosa is not installed"
)


def tone(key, duration_s):
    time = torch.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    hz = 440 * 2 ** ((key - 69) / 12)
    return sum(torch.sin(2 * torch.pi * hz * harmonic * time) / harmonic for harmonic in (1, 2, 3)) * 0.2


def cadence(up=0):
    """A cadence, a chord a second, ``up`` semitones above C major."""
    chords = [torch.stack([tone(key + up, 1) for key in chord]).sum(dim=0) for chord in C_MAJOR]
    return Clip(samples=torch.cat(chords)[None] / 3, sample_rate_hz=RATE_HZ)


def clicks(bpm, duration_s=8):
    samples = torch.zeros(duration_s * RATE_HZ)
    click = tone(84, 0.05) * torch.linspace(1, 0, int(0.05 * RATE_HZ))
    for beat in range(int(duration_s * bpm / 60)):
        start = round(beat * 60 / bpm * RATE_HZ)
        samples[start : start + len(click)] += click[: len(samples) - start]
    return Clip(samples=samples[None], sample_rate_hz=RATE_HZ)


def silence(duration_s):
    return Clip(samples=torch.zeros(1, int(duration_s * RATE_HZ)), sample_rate_hz=RATE_HZ)


@needs_librosa
def test_of_three_candidates_the_one_at_the_target_tempo_fits_best():
    scores = {bpm: fit(clicks(bpm), "techno, 120 bpm").score for bpm in (90, 120, 133)}
    assert scores[120] == 1
    assert max(scores, key=scores.__getitem__) == 120
    assert scores[90] == 0
    assert 0 < scores[133] < 1


@needs_librosa
def test_of_three_candidates_the_one_in_the_target_key_fits_best():
    assert [fit(cadence(up), "a hymn in C major").key for up in (0, 7, 5)] == [1, 0.5, 0]
    assert fit(cadence(), "a hymn in a major key").key == 1
    assert fit(cadence(), "a hymn in a minor key").key == 0


@needs_librosa
def test_the_score_is_the_mean_over_the_targets():
    scores = fit(cadence(), "a hymn in C major", melody=cadence())
    assert (scores.tempo, scores.key, scores.melody) == (None, 1, pytest.approx(1))
    assert scores.score == pytest.approx(1)
    assert fit(cadence(), "in C major", melody=cadence(6)).score == pytest.approx(0.5, abs=0.1)


def test_a_prompt_without_targets_has_no_score_and_needs_no_librosa(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "librosa", None)
    for text in (None, "", "warm piano"):
        assert fit(cadence(), text) == Fit(None, None, None)
        assert fit(cadence(), text).score is None
    assert fit(cadence(), "warm piano", melody=cadence()).score == pytest.approx(1)


@pytest.mark.parametrize("duration_s", [0.05, 5])
def test_a_silent_clip_scores_0_for_any_prompt(duration_s):
    assert fit(silence(duration_s), "in A minor, 60 bpm", melody=cadence()).score == 0
    assert fit(silence(duration_s), None, melody=silence(5)).score == 0
    # Too short a clip has no tempo, be it silent or not.
    assert fit(silence(duration_s), "60 bpm") == Fit(tempo=0.0 if duration_s > 2 else None, key=None, melody=None)


def test_a_clip_too_short_for_a_tempo_is_scored_by_its_melody():
    short = Clip(samples=tone(60, 0.05)[None], sample_rate_hz=RATE_HZ)
    scores = fit(short, "in C major, 120 bpm", melody=short)
    assert (scores.tempo, scores.key, scores.melody) == (None, None, pytest.approx(1))
    assert fit(short, "in C major, 120 bpm").score is None


@pytest.mark.parametrize(
    ("estimated", "credit"),
    [(120, 1), (125.9, 1), (114.1, 1), (132, 0.5), (138, 0), (240, 0.5), (60, 0.5), (66, 0.25), (180, 0), (None, 0)],
)
def test_tempo_is_right_half_right_at_the_octave_and_falls_off(estimated, credit):
    assert tempo_fit(None if estimated is None else float(estimated), 120.0) == pytest.approx(credit)


@pytest.mark.parametrize(
    ("estimated", "credit"),
    [("C major", 1), ("G major", 0.5), ("A minor", 0.3), ("C minor", 0.2), ("F major", 0), ("E minor", 0)],
)
def test_keys_near_c_major_have_mirexs_credit(estimated, credit):
    assert key_fit(estimated, parse_tempo_key("in C major")) == credit


@pytest.mark.parametrize(
    ("estimated", "credit"), [("F# minor", 1), ("C# minor", 0.5), ("A major", 0.3), ("F# major", 0.2), ("Eb major", 0)]
)
def test_keys_near_f_sharp_minor_have_mirexs_credit(estimated, credit):
    assert key_fit(estimated, parse_tempo_key("in F# minor")) == credit
