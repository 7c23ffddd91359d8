"""Figures of the signal of a whole file, read in parts; only a mono version at 16 kHz is kept whole."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soxr
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from descant.audio import read_in_blocks
from descant.curation.bandwidth import bandwidth_hz, power_spectrum
from descant.evaluation.signal_checks import SILENCE_BLOCK_S, SILENCE_DB, longest_run, num_clipped

PART_S = 30
FULL_SCALE = 0.9999
SAME_PEAK = 0.98
"""Parts whose peak is below this share of the file's are not clipped, whatever their shape."""
ENDING_S, ENDING_BLOCK_S = 0.5, 0.01
MONO_RATE_HZ = 16_000


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Figures of a file.

    Args:
        digest: of the samples, rate and channels: equal for the same audio with other tags or in another lossless
            format.
        level_db: the mean power, relative to full scale.
        clipped_share: the share of samples in runs of at least three at the extremes of the file, or at full scale.
        silent_share, longest_silence_s: of blocks of 0.1 s that are 60 dB below the loudest one.
        dc_offset: the largest offset of a channel, 1 is full scale: the median of the means of blocks of 0.1 s, since
            the strokes of drums may be one-sided.
        dead_channels: the numbers of channels that are 60 dB below the loudest one, from 0.
        correlation: the lowest correlation of two channels with signal; None if there are no two.
        bandwidth_hz: where the spectrum ends; half the sample rate if it does not before.
        ending_db: the level of the last 30 ms with signal, relative to the mean of the file or of the last half second,
            whichever is louder.
    """

    num_samples: int
    sample_rate_hz: int
    num_channels: int
    digest: str
    level_db: float
    clipped_share: float
    silent_share: float
    longest_silence_s: float
    dc_offset: float
    dead_channels: tuple[int, ...]
    correlation: float | None
    bandwidth_hz: float
    ending_db: float

    @property
    def duration_s(self) -> float:
        """Length of the file."""
        return self.num_samples / self.sample_rate_hz


def measure_levels(path: Path) -> tuple[Levels, Float[Tensor, " N"]]:
    """The figures of a file, and its samples as mono at 16 kHz.

    Raises:
        AudioError: the file cannot be read completely.
    """
    digest = hashlib.sha256()
    mono: list[Tensor] = []
    parts: list[_Part] = []
    converter = None
    for samples, rate_hz in _parts(path):
        digest.update(rearrange(samples, "C N -> N C").contiguous().numpy().tobytes())
        converter = converter or soxr.ResampleStream(rate_hz, MONO_RATE_HZ, 1, dtype="float32")
        mono.append(torch.from_numpy(converter.resample_chunk(samples.mean(dim=0).numpy())))
        parts.append(_Part.of(samples, rate_hz))
    assert converter is not None, "a file without samples is an AudioError"
    mono.append(torch.from_numpy(converter.resample_chunk(torch.zeros(0).numpy(), last=True)))
    digest.update(repr((rate_hz, len(samples))).encode())
    return _summary(parts, rate_hz, digest.hexdigest()), torch.cat(mono)


@dataclass(frozen=True, eq=False)
class _Part:
    """Sums over a part of a file, of all channels together unless said otherwise."""

    num_samples: int
    sums: Float[Tensor, " C"]
    products: Float[Tensor, "C C"]
    peaks: Float[Tensor, " C"]
    clipped: tuple[int, ...]
    num_full_scale: int
    block_powers: Float[Tensor, " blocks"]
    spectrum: Float[Tensor, " bins"]
    block_means: Float[Tensor, "blocks C"]
    ending_powers: Float[Tensor, " short_blocks"]

    @classmethod
    def of(cls, samples: Float[Tensor, "C N"], rate_hz: int) -> "_Part":
        exact = samples.double()
        powers = exact.square().sum(dim=0)
        block_size = round(SILENCE_BLOCK_S * rate_hz)
        ending = exact[:, -round(ENDING_S * rate_hz) :].split(max(1, round(ENDING_BLOCK_S * rate_hz)), dim=1)
        return cls(
            num_samples=samples.shape[1],
            sums=exact.sum(dim=1),
            products=exact @ exact.T,
            peaks=samples.abs().amax(dim=1),
            clipped=tuple(num_clipped(channel) for channel in samples),
            num_full_scale=int((samples.abs() >= FULL_SCALE).sum()),
            block_powers=torch.stack([block.mean() for block in powers.split(block_size)]),
            block_means=torch.stack([block.mean(dim=1) for block in exact.split(block_size, dim=1)]),
            spectrum=power_spectrum(samples),
            # About the mean of each: an offset is as loud at the end as everywhere, and silence after a cut has none.
            ending_powers=torch.stack([block.var(dim=1, correction=0).sum() for block in ending]),
        )


def _summary(parts: list[_Part], rate_hz: int, digest: str) -> Levels:
    num_samples = sum(part.num_samples for part in parts)
    products = torch.stack([part.products for part in parts]).sum(dim=0) / num_samples
    means = torch.stack([part.sums for part in parts]).sum(dim=0) / num_samples
    powers = products.diagonal()
    covariance = products - means[:, None] * means[None, :]
    variance = covariance.diagonal().sum().item()
    num_channels = len(powers)
    is_dead = powers <= powers.max() * 10 ** (SILENCE_DB / 10)
    blocks = torch.cat([part.block_powers for part in parts])
    is_silent = blocks <= blocks.max() * 10 ** (SILENCE_DB / 10)
    return Levels(
        num_samples=num_samples,
        sample_rate_hz=rate_hz,
        num_channels=num_channels,
        digest=digest,
        level_db=_decibels(powers.mean().item()),
        clipped_share=_clipped_share(parts, num_samples * num_channels),
        silent_share=is_silent.double().mean().item(),
        longest_silence_s=longest_run(is_silent) * SILENCE_BLOCK_S,
        dc_offset=torch.cat([part.block_means for part in parts]).median(dim=0).values.abs().max().item(),
        dead_channels=tuple(is_dead.nonzero()[:, 0].tolist()) if powers.max() > 0 else (),
        correlation=_lowest_correlation(covariance, is_dead.tolist()),
        bandwidth_hz=bandwidth_hz(torch.stack([part.spectrum for part in parts]).sum(dim=0), rate_hz),
        ending_db=_ending_db(parts[-1].ending_powers, variance) if variance > 0 else -math.inf,
    )


def _clipped_share(parts: list[_Part], num_values: int) -> float:
    peaks = torch.stack([part.peaks for part in parts]).amax(dim=0)
    in_runs = sum(
        count
        for part in parts
        for count, peak, highest in zip(part.clipped, part.peaks, peaks, strict=True)
        if peak >= SAME_PEAK * highest
    )
    return max(in_runs, sum(part.num_full_scale for part in parts)) / num_values


def _lowest_correlation(covariance: Float[Tensor, "C C"], is_dead: list[bool]) -> float | None:
    alive = [channel for channel, dead in enumerate(is_dead) if not dead]
    deviations = covariance.diagonal().clamp_min(1e-30).sqrt()
    pairs = [(one, other) for one in alive for other in alive if one < other]
    return min(
        ((covariance[pair] / (deviations[pair[0]] * deviations[pair[1]])).item() for pair in pairs), default=None
    )


def _ending_db(powers: Float[Tensor, " short_blocks"], usual_power: float) -> float:
    """The mean of the last three blocks with signal, relative to all of them or to the usual power.

    Encoders add some milliseconds of silence, which are left out.
    """
    audible = (powers > powers.max() * 10 ** (SILENCE_DB / 10)).nonzero()[:, 0]
    if not len(audible):
        return -math.inf
    last = int(audible[-1]) + 1
    if (len(powers) - last) * ENDING_BLOCK_S > SILENCE_BLOCK_S:
        return -math.inf
    return _decibels(powers[max(0, last - 3) : last].mean().item() / max(usual_power, powers.mean().item()))


def _parts(path: Path) -> Iterator[tuple[Float[Tensor, "C N"], int]]:
    """The samples of a file in parts of 30 s. The last may be shorter, or longer by the ending, which it has whole."""
    waiting: list[Tensor] = []
    num_waiting = 0
    for block, rate_hz in read_in_blocks(path):
        waiting.append(block)
        num_waiting += block.shape[1]
        size = PART_S * 10 * round(SILENCE_BLOCK_S * rate_hz)
        while num_waiting >= size + round(ENDING_S * rate_hz):
            joined = torch.cat(waiting, dim=1)
            yield joined[:, :size], rate_hz
            waiting, num_waiting = [joined[:, size:]], num_waiting - size
    if num_waiting:
        yield torch.cat(waiting, dim=1), rate_hz


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
