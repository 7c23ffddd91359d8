"""Short-time spectra of a wave, and initial phases for spectra of which only the magnitudes are known."""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class FramedSTFT(nn.Module):
    """Short-time spectra centred on their hops: N samples are exactly N / hop spectra, and back."""

    analysis_window: Tensor
    synthesis_window: Tensor
    weights: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.window_samples, self.hop_samples = window_samples, hop_samples
        self.margin = (window_samples - hop_samples) // 2
        self.num_earlier = -(-window_samples // hop_samples) - 1
        """How many earlier windows overlap one, which is also how many later ones do."""
        # Computed on the CPU: the first calculation on the meta device, where models are built before they are loaded,
        # makes PyTorch import its compiler, which takes two seconds.
        device = torch.get_default_device()
        with torch.device("cpu"):
            window = torch.hann_window(window_samples)
            weights = self._weights(window)
        self.register_buffer("analysis_window", (window * (4 / window_samples)).to(device), persistent=False)
        self.register_buffer("synthesis_window", (window * (window_samples / 4)).to(device), persistent=False)
        self.register_buffer("weights", weights.to(device), persistent=False)

    def analyze(self, wave: Float[Tensor, "B N"]) -> Complex[Tensor, "B spectra bins"]:
        """Spectra of a wave whose length is a multiple of the hop; scaled so that a full-scale sine is about 1."""
        return self.analyze_padded(F.pad(wave, (self.margin, self.window_samples - self.hop_samples - self.margin)))

    def analyze_padded(self, padded: Float[Tensor, "B N"]) -> Complex[Tensor, "B spectra bins"]:
        """As ``analyze``, for all windows that lie within these samples, the first at their start."""
        return torch.fft.rfft(padded.unfold(-1, self.window_samples, self.hop_samples) * self.analysis_window)

    def synthesize(self, spectra: Complex[Tensor, "B spectra bins"]) -> Float[Tensor, "B N"]:
        """The wave whose spectra are nearest to these in the least-squares sense (windowed overlap-add)."""
        batch, num_spectra, _ = spectra.shape
        hops = spectra.real.new_zeros(batch, num_spectra + self.num_earlier, self.hop_samples)
        self.overlap_add(spectra, hops)
        weights = self.weights_of(torch.arange(hops.shape[1]), num_spectra)
        # Cut first: no window reaches beyond the wave, and a gradient would not pass a division by zero.
        wave = slice(self.margin, self.margin + num_spectra * self.hop_samples)
        return hops.flatten(start_dim=1)[:, wave] / weights.flatten()[wave]

    def overlap_add(
        self, spectra: Complex[Tensor, "B spectra bins"], hops: Float[Tensor, "B hops hop"]
    ) -> Float[Tensor, "B hops hop"]:
        """Adds windows to ``hops``, the first at their start; they are then to be divided by ``weights_of``."""
        windows = torch.fft.irfft(spectra, n=self.window_samples) * self.synthesis_window
        # Earlier windows first, as a stream has to add them, so that its sums are the same bit for bit.
        for offset in reversed(range(self.num_earlier + 1)):
            part = windows[..., offset * self.hop_samples : (offset + 1) * self.hop_samples]
            hops[:, offset : offset + windows.shape[1], : part.shape[-1]].add_(part)
        return hops

    def weights_of(self, hops: Int[Tensor, " hops"], num_spectra: int | None) -> Float[Tensor, "hops hop"]:
        """The sums of the squared windows over these hops of a wave, which ends after ``num_spectra`` if given."""
        newest = torch.zeros_like(hops) if num_spectra is None else (hops + 1 - num_spectra).clamp(min=0)
        return self.weights[newest, hops.clamp(max=self.num_earlier)]

    def _weights(self, window: Float[Tensor, " samples"]) -> Float[Tensor, "newest oldest hop"]:
        """The sums of squared windows over one hop, by how many hops before it the newest and the oldest begin."""
        squares = F.pad(window.square(), (0, -len(window) % self.hop_samples)).view(-1, self.hop_samples)
        weights = squares.new_zeros(len(squares), len(squares), self.hop_samples)
        for oldest in range(len(squares)):
            for newest in range(oldest, -1, -1):
                weights[newest, oldest] = squares[newest] + (weights[newest + 1, oldest] if newest < oldest else 0)
        return weights


def running_turns(
    stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"], turn: Float[Tensor, "B bins"]
) -> Float[Tensor, "B spectra bins"]:
    """Phases, in turns, of partials that continue from spectrum to spectrum, starting from ``turn``, those of the
    spectrum before the first (Beauregard, Harish and Wyse, "Single pass spectrogram inversion", DSP 2015).

    A partial is a peak of the spectrum; its pitch is the vertex of a parabola through three log-magnitudes. Bins nearer
    to it than to any other peak take its phase, plus half a circle per bin, as in the main lobe of the window.
    """
    device = magnitudes.device
    # On the CPU: five hundred tiny sequential steps, and Apple's GPUs lack an operation that they need.
    magnitudes, turn = magnitudes.cpu(), turn.cpu()
    bins = torch.arange(magnitudes.shape[-1])
    peaks, pitches = _partials(magnitudes)
    # Only the fractions matter: whole turns would cost precision.
    advances = (stft.hop_samples / stft.window_samples * pitches.gather(-1, peaks)).frac_()
    advances += (bins - peaks) % 2 / 2
    turns = torch.empty_like(advances)
    for peak, advance, after in zip(peaks.unbind(1), advances.unbind(1), turns.unbind(1), strict=True):
        turn = torch.frac(turn.gather(-1, peak).add_(advance), out=after)
    return turns.to(device)


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
