"""Short-time spectra of a wave, and waves from magnitudes alone (Griffin-Lim, IEEE TASSP 32(2), 1984)."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.99
"""Of the fast variant of Griffin-Lim (WASPAA 2013, doi 10.1109/WASPAA.2013.6701851); 0 is the original."""


class FramedSTFT(nn.Module):
    """Short-time spectra that lie centred on their hops: N samples are exactly N / hop spectra, and back."""

    window: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.window_samples, self.hop_samples = window_samples, hop_samples
        self.margin = (window_samples - hop_samples) // 2
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

    def analyze(self, wave: Float[Tensor, "B N"]) -> Complex[Tensor, "B spectra bins"]:
        """Spectra of a wave whose length is a multiple of the hop; scaled so that a full-scale sine is about 1."""
        padded = F.pad(wave, (self.margin, self.window_samples - self.hop_samples - self.margin))
        frames = padded.unfold(-1, self.window_samples, self.hop_samples)
        return torch.fft.rfft(frames * self.window) * (4 / self.window_samples)

    def synthesize(self, spectra: Complex[Tensor, "B spectra bins"]) -> Float[Tensor, "B N"]:
        """The wave whose spectra are nearest to these in the least-squares sense (windowed overlap-add)."""
        frames = torch.fft.irfft(spectra * (self.window_samples / 4), n=self.window_samples) * self.window
        weights = self.window.square().expand(1, spectra.shape[1], -1)
        return self._overlap_add(frames) / self._overlap_add(weights)

    def _overlap_add(self, frames: Float[Tensor, "B spectra window"]) -> Float[Tensor, "B N"]:
        num_samples = frames.shape[1] * self.hop_samples
        total = num_samples + self.window_samples - self.hop_samples
        summed = F.fold(
            rearrange(frames, "B S W -> B W S"), (1, total), (1, self.window_samples), stride=(1, self.hop_samples)
        )
        return summed[:, 0, 0, self.margin : self.margin + num_samples]


def find_wave(stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"], iterations: int) -> Float[Tensor, "B N"]:
    """A wave whose spectra have nearly these magnitudes; which one of many depends on nothing but them.

    It starts from phases that run on at the pitch of each partial. Each round of Griffin-Lim then makes the wave,
    analyses it, and puts the wanted magnitudes in place of those it has. Rounds alone, from phases of zero, mistune
    held notes by several Hz.
    """
    # On the CPU: five hundred tiny steps that wait for each other, and Apple's GPUs lack an operation they need.
    spectra = torch.polar(magnitudes, running_phases(stft, magnitudes.cpu()).to(magnitudes.device))
    before = torch.zeros_like(spectra)
    for _ in range(iterations):
        found = stft.analyze(stft.synthesize(spectra))
        hastened = found - MOMENTUM / (1 + MOMENTUM) * before
        before = found
        spectra = magnitudes * hastened / hastened.abs().clamp(min=1e-12)
    return stft.synthesize(spectra)


def running_phases(stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"]) -> Float[Tensor, "B spectra bins"]:
    """Phases that each partial would have if it went on from spectrum to spectrum (Beauregard, Harish and Wyse, "Single
    pass spectrogram inversion", DSP 2015).

    A partial is a peak of the spectrum; its pitch is the vertex of a parabola through three log-magnitudes. Bins nearer
    to it than to any other peak take its phase, turned by half a circle from bin to bin, as the window's lobe has it.
    """
    bins = torch.arange(magnitudes.shape[-1], device=magnitudes.device)
    peaks, pitches = _partials(magnitudes)
    advances = 2 * torch.pi * stft.hop_samples / stft.window_samples * pitches.gather(-1, peaks)
    turned = torch.pi * ((bins - peaks) % 2)
    phase, phases = torch.zeros_like(magnitudes[:, 0]), []
    for peak, advance, turn in zip(peaks.unbind(1), advances.unbind(1), turned.unbind(1), strict=True):
        phase = (phase.gather(-1, peak) + advance + turn) % (2 * torch.pi)
        phases.append(phase)
    return torch.stack(phases, dim=1)


def _partials(
    magnitudes: Float[Tensor, "B spectra bins"],
) -> tuple[Int[Tensor, "B spectra bins"], Float[Tensor, "B spectra bins"]]:
    """For every bin the peak nearest to it; and every bin's pitch, in bins, were it a peak."""
    below, here, above = F.pad(magnitudes.clamp(min=1e-7).log(), (1, 1), mode="replicate").unfold(-1, 3, 1).unbind(-1)
    bins = torch.arange(magnitudes.shape[-1], device=magnitudes.device).expand(magnitudes.shape)
    curvature = (2 * here - below - above).clamp(min=1e-6)
    pitches = bins + ((above - below) / (2 * curvature)).clamp(-0.5, 0.5)
    is_peak = (here >= below) & (here > above)
    last = bins.where(is_peak, bins.new_full((), -bins.shape[-1])).cummax(-1).values
    next_ = bins.where(is_peak, bins.new_full((), 2 * bins.shape[-1])).flip(-1).cummin(-1).values.flip(-1)
    nearest = last.where(bins - last <= next_ - bins, next_)
    # A spectrum without a peak is silent or a slope: its bins run on at their own pitch.
    return nearest.where((nearest >= 0) & (nearest < bins.shape[-1]), bins), pitches
