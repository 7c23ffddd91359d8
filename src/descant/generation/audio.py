"""From codes to the audio of a request: decoding, and joins without a click.

Joins are between a prompt and its continuation, and between the end of a loop and its beginning.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.codec.base import AudioCodec
from descant.generation.resolve import ResolvedRequest

FADE_S = 0.02
"""Length of a crossfade: long against a period of the sound, short against a note."""

ORDER, CONTEXT_S = 64, 0.1
"""Linear prediction: the number of samples that predict the next one, and the seconds from which it is estimated."""


def render(
    codec: AudioCodec, codes: Sequence[Int[Tensor, "K _"]], requests: Sequence[ResolvedRequest]
) -> list[Float[Tensor, "C _"]]:
    """The audio of requests from all their codes, on the CPU. Each begins with the prompt's own audio."""
    waves = zip(codec.decode_all(codes), requests, strict=True)
    return [_finished(wave.float().cpu(), request, codec.sample_rate_hz) for wave, request in waves]


def _finished(wave: Float[Tensor, "C N"], request: ResolvedRequest, sample_rate_hz: int) -> Float[Tensor, "C M"]:
    wave = wave[:, : request.lead_in_samples + request.num_samples]
    if request.prompt_wave.shape[1]:
        return join(request.prompt_wave, wave, sample_rate_hz)
    return cut_loop(wave, request.lead_in_samples, sample_rate_hz) if request.lead_in_samples else wave


def join(prompt: Float[Tensor, "C N"], decoded: Float[Tensor, "C M"], sample_rate_hz: int) -> Float[Tensor, "C M"]:
    """The prompt unchanged, followed by its continuation.

    The decoded audio of the prompt's frames is close to the prompt but equal to it at no sample, so a cut would click.
    Instead, the prompt is extrapolated, and that fades out while the decoded audio fades in.

    Args:
        decoded: the audio of the prompt and its continuation.
    """
    length = prompt.shape[1]
    num_fade = min(round(FADE_S * sample_rate_hz), decoded.shape[1] - length)
    # From the prompt as a 16-bit file keeps it, so that the beginning of such a file is continued in the same way.
    fading = extrapolate((prompt * 2**15).round() / 2**15, num_fade, sample_rate_hz)
    after = decoded[:, length:].clone()
    after[:, :num_fade] = crossfade(fading, after[:, :num_fade])
    return torch.cat([prompt, after], dim=1)


def cut_loop(wave: Float[Tensor, "C N"], lead_in: int, sample_rate_hz: int) -> Float[Tensor, "C M"]:
    """The samples from ``lead_in`` on, whose end fades into what came before them.

    Played repeatedly, the music passes from the last sample to the first as it passed from the lead-in to the loop.
    """
    loop = wave[:, lead_in:].clone()
    num_fade = min(round(FADE_S * sample_rate_hz), lead_in, loop.shape[1])
    if num_fade:
        loop[:, -num_fade:] = crossfade(loop[:, -num_fade:], wave[:, lead_in - num_fade : lead_in])
    return loop


def attenuate(wave: Float[Tensor, "C N"], start: int, limit: float, sample_rate_hz: int) -> Float[Tensor, "C N"]:
    """The wave with a lower gain from ``start`` on if its peak there is above ``limit``; the gain falls within 20 ms.

    The samples before, those of a prompt, stay as they are.
    """
    peak = wave[:, start:].abs().max()
    if peak <= limit:
        return wave
    gains = torch.full((1, wave.shape[1] - start), float(limit / peak))
    num_fade = min(round(FADE_S * sample_rate_hz), gains.shape[1])
    gains[:, :num_fade] = crossfade(torch.ones(1, num_fade), gains[:, :num_fade])
    return torch.cat([wave[:, :start], wave[:, start:] * gains], dim=1)


def crossfade(out: Float[Tensor, "C N"], into: Float[Tensor, "C N"]) -> Float[Tensor, "C N"]:
    """One sound fading into another; the first sample is that of ``out`` alone."""
    share = torch.sin(torch.arange(out.shape[1]) / out.shape[1] * (math.pi / 2)).square()
    return out * (1 - share) + into * share


def extrapolate(wave: Float[Tensor, "C N"], num_samples: int, sample_rate_hz: int) -> Float[Tensor, "C num_samples"]:
    """The continuation of a sound by linear prediction, in which partials go on and noise dies away."""
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
    """Weights of the last ``order`` samples, oldest first, that predict the next one.

    Burg's method (J. P. Burg, Maximum entropy spectral analysis, 1975): the filter that its weights make is stable.
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
