"""Joins that nobody hears: between given and made music, and between the end of a loop and its beginning."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

FADE_S = 0.02
"""How long one sound fades into another: long against a period, short against a note."""

ORDER, CONTEXT_S = 64, 0.1
"""From so many samples the next one is extrapolate, by how such samples went on in the last tenth of a second."""


def joined(given: Float[Tensor, "C N"], made: Float[Tensor, "C M"], sample_rate_hz: int) -> Float[Tensor, "C M"]:
    """The given sound, untouched, and then what was made of it, which is as long as both together.

    What was made says nearly the same as the given part, yet at no moment exactly the same. So the given sound is
    continued as it was going, and that fades out while the made one fades in.
    """
    length = given.shape[1]
    num_fade = min(round(FADE_S * sample_rate_hz), made.shape[1] - length)
    # From what a 16-bit file keeps of it, so that a file's own beginning is continued in the same way.
    fading = extrapolate((given * 2**15).round() / 2**15, num_fade, sample_rate_hz)
    after = made[:, length:].clone()
    after[:, :num_fade] = crossfade(fading, after[:, :num_fade])
    return torch.cat([given, after], dim=1)


def looped(wave: Float[Tensor, "C N"], lead_in: int, length: int, sample_rate_hz: int) -> Float[Tensor, "C length"]:
    """``length`` samples from ``lead_in`` on, whose end goes over into what was heard before their beginning.

    Played again and again it passes from its last sample to its first as the music did.
    """
    loop = wave[:, lead_in : lead_in + length].clone()
    num_fade = min(round(FADE_S * sample_rate_hz), lead_in, length)
    if num_fade:
        loop[:, -num_fade:] = crossfade(loop[:, -num_fade:], wave[:, lead_in - num_fade : lead_in])
    return loop


def attenuated(wave: Float[Tensor, "C N"], start: int, limit: float, sample_rate_hz: int) -> Float[Tensor, "C N"]:
    """The wave with what comes from ``start`` on turned down until its peak is ``limit``, so that what was given before
    need not be; the way down takes 20 ms.
    """
    peak = wave[:, start:].abs().max()
    if peak <= limit:
        return wave
    gains = torch.full((1, wave.shape[1] - start), float(limit / peak))
    num_fade = min(round(FADE_S * sample_rate_hz), gains.shape[1])
    gains[:, :num_fade] = crossfade(torch.ones(1, num_fade), gains[:, :num_fade])
    return torch.cat([wave[:, :start], wave[:, start:] * gains], dim=1)


def crossfade(out: Float[Tensor, "C N"], into: Float[Tensor, "C N"]) -> Float[Tensor, "C N"]:
    """From one sound to another, beginning with the first's very first sample."""
    share = torch.sin(torch.arange(out.shape[1]) / out.shape[1] * (math.pi / 2)).square()
    return out * (1 - share) + into * share


def extrapolate(wave: Float[Tensor, "C N"], num_samples: int, sample_rate_hz: int) -> Float[Tensor, "C num_samples"]:
    """How a sound would go on: linear prediction, which continues partials and lets noise die away."""
    context = wave[:, -round(CONTEXT_S * sample_rate_hz) :].double()
    order = min(ORDER, context.shape[1] // 3)
    samples = context.clone()
    if order:
        weights = torch.stack([_burg(channel, order) for channel in context])
        for _ in range(num_samples):
            samples = torch.cat([samples, (samples[:, -order:] * weights).sum(dim=1, keepdim=True)], dim=1)
    else:
        samples = torch.cat([samples, samples[:, -1:].expand(-1, num_samples)], dim=1)
    return samples[:, context.shape[1] :].to(wave.dtype)


def _burg(samples: Float[Tensor, " N"], order: int) -> Float[Tensor, " order"]:
    """Weights of the last ``order`` samples, oldest first, for the next one. Burg's method (J. P. Burg, Maximum entropy
    spectral analysis, 1975): what is predicted with them never grows.
    """
    forward, backward = samples[1:], samples[:-1]
    errors = samples.new_ones(1)
    for _ in range(order):
        power = forward.square().sum() + backward.square().sum()
        reflection = -2 * (forward @ backward) / power.clamp(min=1e-30)
        padded = torch.cat([errors, errors.new_zeros(1)])
        errors = padded + reflection * padded.flip(0)
        forward, backward = (forward + reflection * backward)[1:], (backward + reflection * forward)[:-1]
    return -errors[1:].flip(0)
