"""Perceived loudness: integrated loudness by ITU-R BS.1770-4."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

BLOCK_HOP_S = 0.1
HOPS_PER_BLOCK = 4
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0

# A 5.1 clip in the order left, right, centre, low frequencies, left and right surround (BS.1770-4, table 3).
WEIGHTS_5_1 = (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)

CHUNK_S = 20
# The K filter's memory is far shorter: its slowest pole decays by e^239 in a second.
MEMORY_S = 1


def integrated_loudness(samples: Float[Tensor, "C N"], sample_rate_hz: int) -> float:
    """The loudness of a clip in LUFS, minus infinity for silence. A full-scale 1 kHz sine in one channel has -3.01.

    Mean power of the K-weighted blocks of 400 ms, each 100 ms after the last, that pass two gates: -70 LUFS, and
    10 LU under the mean of those that pass the first. A clip shorter than a block counts as one block.
    """
    powers = _block_powers(samples, sample_rate_hz)
    loud = powers[_lufs(powers) > ABSOLUTE_GATE_LUFS]
    if not len(loud):
        return -math.inf
    gate = _lufs(loud.mean()) + RELATIVE_GATE_LU
    return _lufs(loud[_lufs(loud) > gate].mean()).item()


def _lufs(power: Float[Tensor, "*blocks"]) -> Float[Tensor, "*blocks"]:
    return -0.691 + 10 * power.log10()


def _block_powers(samples: Float[Tensor, "C N"], sample_rate_hz: int) -> Float[Tensor, " blocks"]:
    """The power of every block: the weighted sum over channels."""
    num_channels, num_samples = samples.shape
    hop = round(BLOCK_HOP_S * sample_rate_hz)
    squares = _weighted_squares(samples, sample_rate_hz)
    if num_samples < hop * HOPS_PER_BLOCK:
        per_hop = squares.mean(dim=1, keepdim=True)
    else:
        per_hop = squares[:, : num_samples // hop * hop].unflatten(1, (-1, hop)).mean(dim=2)
        per_hop = per_hop.unfold(1, HOPS_PER_BLOCK, 1).mean(dim=2)
    weights = WEIGHTS_5_1 if num_channels == len(WEIGHTS_5_1) else (1.0,) * num_channels
    return torch.tensor(weights, dtype=torch.float64, device="cpu") @ per_hop


def _weighted_squares(samples: Float[Tensor, "C N"], sample_rate_hz: int) -> Float[Tensor, "C N"]:
    """The squared output of the K filter.

    Applied as a product of spectra, chunk by chunk, each with the past samples in the filter's memory: as exact as the
    recursion, and fast without compiled code.
    """
    samples = samples.double().cpu()
    memory, chunk = MEMORY_S * sample_rate_hz, CHUNK_S * sample_rate_hz
    squares = []
    for start in range(0, samples.shape[1], chunk):
        past = min(start, memory)
        padded = samples[:, start - past : start + chunk]
        size = padded.shape[1] + memory
        response = _k_response(sample_rate_hz, size)
        filtered = torch.fft.irfft(torch.fft.rfft(padded, n=size) * response, n=size)
        squares.append(filtered[:, past : padded.shape[1]].square())
    return torch.cat(squares, dim=1)


def _k_response(sample_rate_hz: int, size: int) -> Complex[Tensor, " bins"]:
    """The K filter at the frequencies of a real FFT: a shelf for the head, then a high pass.

    BS.1770-4 gives the coefficients at 48 kHz; these are the analogue filters behind them (De Man, Evaluation of
    implementations of the EBU R128 loudness measurement, 2018), adapted to any rate by the bilinear transform.
    """
    z = torch.exp(-2j * math.pi * torch.arange(size // 2 + 1, dtype=torch.float64, device="cpu") / size)

    k = math.tan(math.pi * 1681.974450955533 / sample_rate_hz)
    q, gain = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    slope = gain**0.4996667741545416
    shelf = _section(
        z,
        (gain + slope * k / q + k * k, 2 * (k * k - gain), gain - slope * k / q + k * k),
        (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k),
    )
    k, q = math.tan(math.pi * 38.13547087602444 / sample_rate_hz), 0.5003270373238773
    # The standard's numerator is exactly 1, -2, 1, without the gain of the bilinear transform.
    denominator = (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    high_pass = _section(z, (denominator[0], -2 * denominator[0], denominator[0]), denominator)
    return shelf * high_pass


def _section(
    z: Complex[Tensor, " bins"], numerator: tuple[float, ...], denominator: tuple[float, ...]
) -> Complex[Tensor, " bins"]:
    """The response of a second-order filter; ``z`` is one sample of delay."""
    above, below = ((a + b * z + c * z * z) for a, b, c in (numerator, denominator))
    return above / below
