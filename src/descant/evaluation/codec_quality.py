"""Quality of a codec: distances to the original, Opus for comparison, and the use of the codebooks."""

import math
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from descant.audio import Clip
from descant.codec import metrics
from descant.codec.mel import mel_filters
from descant.errors import InvalidRequest, MissingExtra
from descant.evaluation.spectra import spectrogram

WINDOW = 2_048
HOP = 512
NUM_MELS = 80
FLOOR_DB = -80.0


def log_mel_distance(
    reference: Float[Tensor, "C N"],
    estimate: Float[Tensor, "..."],
    sample_rate_hz: int,
    highest_hz: float | None = None,
) -> float:
    """The mean absolute difference in dB of two waves' mel spectrograms: 0 for equal waves, and independent of phase.

    80 Slaney bands from 0 to ``highest_hz`` (default: half the sample rate), Hann windows of 2,048 samples every 512,
    magnitudes scaled so that a full-scale sine has 0 dB in its bin, averaged over the bins of a band, with a floor of
    -80 dB. Only values of this definition at one sample rate are comparable.

    Raises:
        InvalidRequest: the waves differ in shape, or are shorter than one window.
    """
    _check_same_shape(reference, estimate)
    if reference.shape[-1] < WINDOW:
        raise InvalidRequest(f"{reference.shape[-1]} samples: the log-mel distance needs at least {WINDOW}")
    highest_hz = highest_hz or sample_rate_hz / 2
    return (
        (_mel_db(reference, sample_rate_hz, highest_hz) - _mel_db(estimate, sample_rate_hz, highest_hz))
        .abs()
        .mean()
        .item()
    )


def _mel_db(wave: Float[Tensor, "C N"], sample_rate_hz: int, highest_hz: float) -> Float[Tensor, "C T M"]:
    filters = mel_filters(sample_rate_hz=sample_rate_hz, window=WINDOW, num_mels=NUM_MELS, f_max_hz=highest_hz)
    # At 44.1 kHz and above the lowest bands are narrower than a bin and empty: both waves get the floor there.
    means = filters / filters.sum(dim=0).clamp_min(1e-12)
    magnitudes = rearrange(spectrogram(wave, WINDOW, HOP) / (WINDOW / 4), "C bins T -> C T bins")
    return 20 * torch.log10((magnitudes @ means).clamp_min(10 ** (FLOOR_DB / 20)))


def si_sdr_db(reference: Float[Tensor, "C N"], estimate: Float[Tensor, "..."]) -> float:
    """The scale-invariant signal-to-distortion ratio of one wave in dB, as ``codec.metrics`` defines it.

    Raises:
        InvalidRequest: the waves differ in shape, or the reference is silent, for which it is undefined.
    """
    _check_same_shape(reference, estimate)
    if not (reference - reference.mean(dim=-1, keepdim=True)).any():
        raise InvalidRequest("the reference is silent: SI-SDR is not defined; leave such clips out")
    return metrics.si_sdr_db(reference.double()[None], estimate.double()[None]).item()


@dataclass(frozen=True)
class OpusRoundTrip:
    """A clip after Opus, at its original rate and length, and the bit rate of the Opus file."""

    clip: Clip
    kilobits_per_second: float


def opus_round_trip(clip: Clip, kilobits_per_second: int = 6) -> OpusRoundTrip:
    """The clip after ``opusenc --bitrate`` and ``opusdec``, with their default settings otherwise.

    The bit rate returned is that of the whole file, including the container.

    Raises:
        InvalidRequest: the clip exceeds full scale, which the file for Opus cannot represent.
        MissingExtra: opus-tools is not installed.
    """
    if clip.samples.abs().max() > 1:
        raise InvalidRequest("the clip exceeds full scale: reduce its level before a round trip through a file")
    for program in ("opusenc", "opusdec"):
        if which(program) is None:
            raise MissingExtra(f"{program} is not installed; it is part of opus-tools: apt-get install opus-tools")
    with tempfile.TemporaryDirectory() as folder:
        original, coded, decoded = (Path(folder, name) for name in ("original.wav", "coded.opus", "decoded.wav"))
        clip.save(original)
        _run("opusenc", "--quiet", "--bitrate", str(kilobits_per_second), str(original), str(coded))
        _run("opusdec", "--quiet", "--rate", str(clip.sample_rate_hz), str(coded), str(decoded))
        samples = Clip.read(decoded).samples
        bits = 8 * coded.stat().st_size
    # opusdec returns the length up to the rounding of its resampling.
    num_samples = clip.samples.shape[-1]
    samples = torch.nn.functional.pad(samples[:, :num_samples], (0, max(0, num_samples - samples.shape[-1])))
    return OpusRoundTrip(Clip(samples=samples, sample_rate_hz=clip.sample_rate_hz), bits / clip.duration_s / 1_000)


@dataclass(frozen=True)
class CodebookUsage:
    """The use of a codebook: the share of its entries that occur, and the perplexity, 2 to the entropy in bits."""

    share_used: float
    perplexity: float


def codebook_usage(codes: Int[Tensor, "*batch K T"], codebook_size: int) -> list[CodebookUsage]:
    """The use of each codebook. Unused entries are only meaningful with thousands of frames."""
    usages = []
    for book in codes.movedim(-2, 0).flatten(1):
        counts = torch.bincount(book, minlength=codebook_size)
        p = counts[counts > 0].double() / counts.sum()
        entropy = -(p * p.log()).sum().item()
        usages.append(CodebookUsage((counts > 0).double().mean().item(), math.exp(entropy)))
    return usages


def _check_same_shape(reference: Tensor, estimate: Tensor) -> None:
    if reference.shape != estimate.shape:
        raise InvalidRequest(f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} differ in shape")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}: {done.stderr.strip()}")
