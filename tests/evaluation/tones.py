"""Synthetic music with known content: notes with five harmonics, sequences, chords, clicks and drum rolls."""

import math

import torch

from descant.audio import Clip

RATE_HZ = 22_050


def note(pitch, duration_s, decay_per_s=0.0):
    """A MIDI pitch with harmonics that fall as 1 / n, a short attack and release."""
    time = torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    hz = 440 * 2 ** ((pitch - 69) / 12)
    envelope = torch.exp(-decay_per_s * time) * (time / 0.01).clamp(max=1) * ((duration_s - time) / 0.02).clamp(max=1)
    return 0.1 * envelope * sum(torch.sin(2 * math.pi * hz * n * time) / n for n in range(1, 6))


def sequence(pitches, duration_s, decay_per_s=0.0):
    """Notes one after the other; a pitch may be a chord of several."""
    chords = [pitch if isinstance(pitch, tuple) else (pitch,) for pitch in pitches]
    return torch.cat([sum(note(one, duration_s, decay_per_s) for one in chord) for chord in chords])


def noise(duration_s, seed=0):
    return 0.1 * torch.randn(round(duration_s * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def roll(duration_s, strokes_per_s=16):
    """Strokes of noise, each decaying."""
    samples = noise(duration_s)
    time = torch.arange(len(samples)) / RATE_HZ
    return samples * torch.exp(-40 * (time % (1 / strokes_per_s)))


def pattern(beats, bar_s, duration_s):
    """Short noises at these fractions of every bar, a different one for each."""
    samples = torch.zeros(round(duration_s * RATE_HZ))
    for bar in range(round(duration_s / bar_s)):
        for number, beat in enumerate(beats):
            stroke = noise(0.05, seed=number) * torch.linspace(1, 0, round(0.05 * RATE_HZ))
            start = round((bar + beat) * bar_s * RATE_HZ)
            samples[start : start + len(stroke)] += stroke[: len(samples) - start]
    return samples


def clip_of(samples):
    return Clip(samples=samples[None], sample_rate_hz=RATE_HZ)
