"""Synthetic music with a known tempo and key, quick to make and different for every seed."""

import math

import numpy as np
import torch

from descant.audio import Clip

RATE_HZ = 32_000
MAJOR = (0, 2, 4, 5, 7, 9, 11)


def song(seed: int, duration_s: float = 10.0, bpm: float = 120.0, tonic: int = 0) -> Clip:
    """A melody over triads in a major key, with a drum on each beat and a brush of noise between; it fades out."""
    random = np.random.default_rng(seed)
    beat = 60 / bpm
    wave = np.zeros(round(duration_s * RATE_HZ))
    degrees = [0, *random.choice([0, 3, 4, 5], round(duration_s / (4 * beat)))]
    for number in range(int(duration_s / beat)):
        degree = degrees[number // 4]
        if number % 4 == 0:
            for step in (0, 2, 4):
                _add(wave, number * beat, _tone(_pitch(48 + tonic, degree + step), 4 * beat, 0.8))
        pitch = _pitch(60 + tonic, 0 if number == 0 else int(random.integers(0, 8)))
        _add(wave, number * beat, 1.3 * _tone(pitch, beat, 4.0))
        _add(wave, number * beat, _stroke(random, 0.08, 4.0 if number % 2 == 0 else 2.0))
        _add(wave, (number + 0.5) * beat, _stroke(random, 0.04, 1.0))
    fade = round(0.4 * RATE_HZ)
    wave[-fade:] *= np.linspace(1, 0, fade)
    return Clip(samples=torch.from_numpy(0.5 * wave / np.abs(wave).max()).float()[None], sample_rate_hz=RATE_HZ)


def _pitch(lowest: int, degree: int) -> int:
    return lowest + MAJOR[degree % 7] + 12 * (degree // 7)


def _tone(pitch: int, duration_s: float, decay_per_s: float) -> np.ndarray:
    time = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    hz = 440 * 2 ** ((pitch - 69) / 12)
    envelope = np.exp(-decay_per_s * time) * np.minimum(1, time / 0.005) * np.minimum(1, (duration_s - time) / 0.02)
    return envelope * sum(np.sin(2 * math.pi * hz * n * time) / n**1.5 for n in range(1, 9))


def _stroke(random: np.random.Generator, duration_s: float, strength: float) -> np.ndarray:
    num_samples = round(duration_s * RATE_HZ)
    return 0.3 * strength * random.standard_normal(num_samples) * np.linspace(1, 0, num_samples) ** 2


def _add(wave: np.ndarray, start_s: float, sound: np.ndarray) -> None:
    start = round(start_s * RATE_HZ)
    wave[start : start + len(sound)] += sound[: max(0, len(wave) - start)]
