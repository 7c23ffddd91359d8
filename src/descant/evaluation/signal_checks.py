"""Faults of the signal itself: level, clipping, silence, offset and dead channels.

``measure_signal`` gives the figures of a clip, ``find_faults`` those that are out of bounds. What is measured relative
to the clip (clipping, silence, dead channels) does not depend on its level.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from descant.audio import Clip, integrated_loudness
from descant.audio.transforms import resample

SILENCE_BLOCK_S = 0.1
SILENCE_DB = -60.0
"""A block is silent, and a channel dead, this far below the loudest one."""
CLIPPED_RUN = 3
"""Equal extremes in a row that count as clipped: one or two are the crest of a wave."""
CLIPPED_TOLERANCE = 2**-15
"""A step of 16 bits, relative to the extreme: dither and rounding leave the top of a clipped wave nearly flat."""
OVERSAMPLING = 4
_CHUNK_S, _OVERLAP_S = 30, 0.1


@dataclass(frozen=True, kw_only=True)
class SignalMeasures:
    """Figures of a clip; its loudness and peaks are minus infinity if it is silent throughout.

    Args:
        loudness_lufs: integrated loudness (ITU-R BS.1770-4).
        sample_peak_db, true_peak_db: the largest sample, and the largest value between samples at four times the rate
            (BS.1770-4, annex 2), relative to full scale.
        clipped_share: the share of samples in runs of at least three at the largest or the smallest value of their
            channel. The crests of smooth waves reach 0.0001.
        silent_share, longest_silence_s: of blocks of 0.1 s that are 60 dB below the loudest one.
        dc_offset: the largest mean of a channel, 1 is full scale.
        dead_channels: the numbers of channels that are 60 dB below the loudest one, from 0.
    """

    loudness_lufs: float
    sample_peak_db: float
    true_peak_db: float
    clipped_share: float
    silent_share: float
    longest_silence_s: float
    dc_offset: float
    dead_channels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SignalLimits:
    """What is still in order, for finished music. Masters reach true peaks of 1 dB; EBU R 128 asks for -1."""

    min_loudness_lufs: float = -40.0
    max_loudness_lufs: float = -5.0
    max_true_peak_db: float = 1.0
    max_clipped_share: float = 0.001
    max_silent_share: float = 0.3
    max_silence_s: float = 2.0
    max_dc_offset: float = 0.01


@dataclass(frozen=True)
class Fault:
    """A figure out of bounds: the field of ``SignalMeasures``, its value, the limit, and both in words."""

    measure: str
    value: float
    limit: float
    message: str


def measure_signal(clip: Clip) -> SignalMeasures:
    """The figures of a clip of any length and number of channels."""
    samples = clip.samples.detach().cpu()
    is_silent = _silent_blocks(samples, clip.sample_rate_hz)
    powers = samples.double().square().mean(dim=1)
    is_dead = powers <= powers.max() * 10 ** (SILENCE_DB / 10)
    return SignalMeasures(
        loudness_lufs=integrated_loudness(samples, clip.sample_rate_hz),
        sample_peak_db=_decibels(samples.abs().max().item()),
        true_peak_db=_decibels(_true_peak(samples, clip.sample_rate_hz)),
        clipped_share=sum(num_clipped(channel) for channel in samples) / samples.numel(),
        silent_share=is_silent.double().mean().item(),
        longest_silence_s=min(longest_run(is_silent) * SILENCE_BLOCK_S, clip.duration_s),
        dc_offset=samples.double().mean(dim=1).abs().max().item(),
        dead_channels=tuple(is_dead.nonzero()[:, 0].tolist()) if powers.max() > 0 else (),
    )


def find_faults(measures: SignalMeasures, limits: SignalLimits | None = None) -> list[Fault]:
    """The figures that are out of bounds, none for a clip in order. Of a clip without any signal, only that is said."""
    limits = limits or SignalLimits()
    if measures.sample_peak_db == -math.inf:
        return [Fault("sample_peak_db", -math.inf, -math.inf, "silent throughout")]
    above = (
        ("loudness_lufs", limits.max_loudness_lufs, "loudness of {:.1f} LUFS, above {:g}"),
        ("true_peak_db", limits.max_true_peak_db, "true peak of {:+.1f} dB, above {:+g}"),
        ("clipped_share", limits.max_clipped_share, "clipped: a share of {:.2g} of the samples, above {:g}"),
        ("silent_share", limits.max_silent_share, "silent: a share of {:.2f} of the time, above {:g}"),
        ("longest_silence_s", limits.max_silence_s, "{:.1f} s of silence at a time, above {:g}"),
        ("dc_offset", limits.max_dc_offset, "offset of {:.3f} of full scale, above {:g}"),
    )
    faults = [
        Fault(name, value, limit, message.format(value, limit))
        for name, limit, message in above
        if (value := getattr(measures, name)) > limit
    ]
    if measures.loudness_lufs < limits.min_loudness_lufs:
        message = f"loudness of {measures.loudness_lufs:.1f} LUFS, below {limits.min_loudness_lufs:g}"
        faults.append(Fault("loudness_lufs", measures.loudness_lufs, limits.min_loudness_lufs, message))
    if measures.dead_channels:
        message = f"channels without signal: {', '.join(map(str, measures.dead_channels))}, counted from 0"
        faults.append(Fault("dead_channels", float(len(measures.dead_channels)), 0.0, message))
    return faults


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude else -math.inf


def _true_peak(samples: Float[Tensor, "C N"], sample_rate_hz: int) -> float:
    """The largest absolute value at four times the rate; in chunks, so that memory is bounded."""
    chunk, overlap = _CHUNK_S * sample_rate_hz, round(_OVERLAP_S * sample_rate_hz)
    peak = samples.abs().max().item()
    for start in range(0, samples.shape[1], chunk):
        before = min(start, overlap)
        part = resample(
            samples[:, start - before : start + chunk + overlap], sample_rate_hz, OVERSAMPLING * sample_rate_hz
        )
        # The cuts are edges, at which the filter overshoots: they are left out.
        whole = part[:, OVERSAMPLING * before : OVERSAMPLING * (before + chunk)]
        peak = max(peak, whole.abs().max().item())
    return peak


def num_clipped(channel: Float[Tensor, " N"]) -> int:
    """Samples in long enough runs at the channel's largest value, or at its smallest; none in a constant channel."""
    if channel.max() == channel.min():
        return 0
    extremes = ((channel, channel.max()), (-channel, -channel.min()))
    return sum(_num_in_runs(side >= top * (1 - CLIPPED_TOLERANCE)) for side, top in extremes if top > 0)


def _num_in_runs(flags: Bool[Tensor, " N"]) -> int:
    lengths = _run_lengths(flags)
    return int(lengths[lengths >= CLIPPED_RUN].sum())


def longest_run(flags: Bool[Tensor, " N"]) -> int:
    return int(_run_lengths(flags).max()) if flags.any() else 0


def _run_lengths(flags: Bool[Tensor, " N"]) -> Tensor:
    """The lengths of the runs of true values."""
    edges = F.pad(flags.to(torch.int8), (1, 1)).diff()
    return (edges == -1).nonzero()[:, 0] - (edges == 1).nonzero()[:, 0]


def _silent_blocks(samples: Float[Tensor, "C N"], sample_rate_hz: int) -> Bool[Tensor, " blocks"]:
    """Which blocks are silent in all channels; the last one may be shorter."""
    size = round(SILENCE_BLOCK_S * sample_rate_hz)
    powers = samples.double().square().sum(dim=0)
    means = torch.stack([block.mean() for block in powers.split(size)])
    return means <= means.max() * 10 ** (SILENCE_DB / 10)
