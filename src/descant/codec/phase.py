"""Short-time spectra of a wave, and waves from magnitudes alone (Griffin-Lim, IEEE TASSP 32(2), 1984)."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.99
"""Of the fast variant of Griffin-Lim (WASPAA 2013, doi 10.1109/WASPAA.2013.6701851); 0 is the original."""


class FramedSTFT(nn.Module):
    """Short-time spectra centred on their hops: N samples are exactly N / hop spectra, and back."""

    window: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.window_samples, self.hop_samples = window_samples, hop_samples
        self.margin = (window_samples - hop_samples) // 2
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

    def analyze(self, wave: Float[Tensor, "B N"]) -> Complex[Tensor, "B spectra bins"]:
        """Spectra of a wave whose length is a multiple of the hop; scaled so that a full-scale sine is about 1."""
        return self.analyze_padded(F.pad(wave, (self.margin, self.window_samples - self.hop_samples - self.margin)))

    def analyze_padded(self, padded: Float[Tensor, "B N"]) -> Complex[Tensor, "B spectra bins"]:
        """As ``analyze``, for all windows that lie within these samples, the first at their start."""
        frames = padded.unfold(-1, self.window_samples, self.hop_samples)
        return torch.fft.rfft(frames * self.window) * (4 / self.window_samples)

    def synthesize(self, spectra: Complex[Tensor, "B spectra bins"]) -> Float[Tensor, "B N"]:
        """The wave whose spectra are nearest to these in the least-squares sense (windowed overlap-add)."""
        sums = self.overlap_add(spectra, self.no_sums(len(spectra)))
        sums = rearrange(sums, "rows slots hop -> rows (slots hop)")
        return divide(sums[:, self.margin : self.margin + spectra.shape[1] * self.hop_samples])

    def no_sums(self, batch: int) -> Float[Tensor, "rows open hop"]:
        """The initial sums for ``overlap_add``, before the first window."""
        return self.window.new_zeros(batch + 1, -(-self.window_samples // self.hop_samples) - 1, self.hop_samples)

    def overlap_add(
        self, spectra: Complex[Tensor, "B spectra bins"], sums: Float[Tensor, "rows open hop"]
    ) -> Float[Tensor, "rows slots hop"]:
        """The sums of overlapping windows, hop by hop from the start of the first of these windows.

        ``sums`` are those of earlier windows that overlap these. The last row holds the weights to divide by.
        """
        frames = torch.fft.irfft(spectra * (self.window_samples / 4), n=self.window_samples) * self.window
        rows = torch.cat([frames, self.window.square().expand(1, frames.shape[1], -1)])
        rows = F.pad(rows, (0, -self.window_samples % self.hop_samples))
        parts = rearrange(rows, "rows S (parts hop) -> parts rows S hop", hop=self.hop_samples)
        sums = F.pad(sums, (0, 0, 0, frames.shape[1]))
        # Earlier windows first, as a stream has to add them, so that its sums are the same bit for bit.
        for offset in reversed(range(len(parts))):
            sums[:, offset : offset + frames.shape[1]] += parts[offset]
        return sums


def divide(sums: Float[Tensor, "rows N"]) -> Float[Tensor, "B N"]:
    """Sums of windows divided by their weights, the last row."""
    return sums[:-1] / sums[-1:]


def find_wave(stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"], iterations: int) -> Float[Tensor, "B N"]:
    """A wave whose spectra have nearly these magnitudes; which of many such waves depends on the magnitudes alone.

    The initial phases advance at the pitch of each partial. Each round of Griffin-Lim then synthesises the wave,
    analyses it, and replaces the resulting magnitudes by the target ones. Rounds alone, from phases of zero, mistune
    held notes by several Hz.
    """
    spectra = torch.polar(magnitudes, running_phases(stft, magnitudes, torch.zeros_like(magnitudes[:, 0])))
    before = torch.zeros_like(spectra)
    for _ in range(iterations):
        found = stft.analyze(stft.synthesize(spectra))
        spectra = impose(magnitudes, found, before)
        before = found
    return stft.synthesize(spectra)


def impose(
    magnitudes: Float[Tensor, "B spectra bins"],
    found: Complex[Tensor, "B spectra bins"],
    before: Complex[Tensor, "B spectra bins"],
) -> Complex[Tensor, "B spectra bins"]:
    """Spectra with these magnitudes and a round's phases, accelerated by their change since the round before."""
    accelerated = found - MOMENTUM / (1 + MOMENTUM) * before
    return magnitudes * accelerated / accelerated.abs().clamp(min=1e-12)


def running_phases(
    stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"], phase: Float[Tensor, "B bins"]
) -> Float[Tensor, "B spectra bins"]:
    """Phases of partials that continue from spectrum to spectrum (Beauregard, Harish and Wyse, "Single pass spectrogram
    inversion", DSP 2015), starting from ``phase``, the phases of the spectrum before the first.

    A partial is a peak of the spectrum; its pitch is the vertex of a parabola through three log-magnitudes. Bins nearer
    to it than to any other peak take its phase, plus half a circle per bin, as in the main lobe of the window.
    """
    device = magnitudes.device
    # On the CPU: five hundred tiny sequential steps, and Apple's GPUs lack an operation that they need.
    magnitudes, phase = magnitudes.cpu(), phase.cpu()
    bins = torch.arange(magnitudes.shape[-1])
    peaks, pitches = _partials(magnitudes)
    advances = 2 * torch.pi * stft.hop_samples / stft.window_samples * pitches.gather(-1, peaks)
    offsets = torch.pi * ((bins - peaks) % 2)
    phases = []
    for peak, advance, offset in zip(peaks.unbind(1), advances.unbind(1), offsets.unbind(1), strict=True):
        phase = (phase.gather(-1, peak) + advance + offset) % (2 * torch.pi)
        phases.append(phase)
    return torch.stack(phases, dim=1).to(device)


def _partials(
    magnitudes: Float[Tensor, "B spectra bins"],
) -> tuple[Int[Tensor, "B spectra bins"], Float[Tensor, "B spectra bins"]]:
    """For every bin the nearest peak, and the pitch (in bins) that the bin would have as a peak."""
    below, here, above = F.pad(magnitudes.clamp(min=1e-7).log(), (1, 1), mode="replicate").unfold(-1, 3, 1).unbind(-1)
    bins = torch.arange(magnitudes.shape[-1], device=magnitudes.device).expand(magnitudes.shape)
    curvature = (2 * here - below - above).clamp(min=1e-6)
    pitches = bins + ((above - below) / (2 * curvature)).clamp(-0.5, 0.5)
    is_peak = (here >= below) & (here > above)
    last = bins.where(is_peak, bins.new_full((), -bins.shape[-1])).cummax(-1).values
    next_ = bins.where(is_peak, bins.new_full((), 2 * bins.shape[-1])).flip(-1).cummin(-1).values.flip(-1)
    nearest = last.where(bins - last <= next_ - bins, next_)
    # A spectrum without a peak is silent or monotonic: each of its bins keeps its own pitch.
    return nearest.where((nearest >= 0) & (nearest < bins.shape[-1]), bins), pitches
