"""Waves from magnitudes that come bit by bit: what `phase.find_wave` does, as a pipeline of its rounds.

A spectrum meets only its neighbours in a round: those whose windows overlap its own. So every round runs a few spectra
behind the one before it, and keeps no more than the sums under open windows and the spectra that wait for them.
Spectra are [B, spectra, bins] here and samples [B, N].
"""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from descant.codec.phase import FramedSTFT, divide, impose, running_phases
from descant.nn.stream import Backlog, StreamStage


class WaveStream(StreamStage):
    """Magnitudes to samples: running phases, rounds of Griffin-Lim, and a last synthesis."""

    def __init__(self, stft: FramedSTFT, iterations: int) -> None:
        self.stft = stft
        self.phase: Float[Tensor, "B bins"] | None = None
        self.rounds = [_RoundStream(stft) for _ in range(iterations)]
        self.synthesis = SynthesisStream(stft)

    def push(self, piece: Float[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B N"]:
        magnitudes, spectra = piece, self._start(piece)
        before = torch.zeros_like(spectra)
        for one_round in self.rounds:
            magnitudes, spectra, before = one_round.push(magnitudes, spectra, before, is_last)
        return self.synthesis.push(spectra, is_last)

    def last_needed(self, step: int) -> int:
        spectrum = self.synthesis.last_needed(step)
        for one_round in self.rounds:
            spectrum = one_round.synthesis.last_needed(one_round.analysis.last_needed(spectrum))
        return spectrum

    def _start(self, magnitudes: Float[Tensor, "B spectra bins"]) -> Complex[Tensor, "B spectra bins"]:
        if not magnitudes.shape[1]:
            return torch.polar(magnitudes, magnitudes)
        if self.phase is None:
            self.phase = torch.zeros_like(magnitudes[:, 0])
        phases = running_phases(self.stft, magnitudes, self.phase)
        self.phase = phases[:, -1].clone()
        return torch.polar(magnitudes, phases)


class _RoundStream:
    """One round of Griffin-Lim, on spectra that bring their wanted magnitudes and what the round before found there."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.synthesis, self.analysis = SynthesisStream(stft), AnalysisStream(stft)
        self.magnitudes, self.before = Backlog(dim=1), Backlog(dim=1)

    def push(
        self,
        magnitudes: Float[Tensor, "B spectra bins"],
        spectra: Complex[Tensor, "B spectra bins"],
        before: Complex[Tensor, "B spectra bins"],
        is_last: bool,
    ) -> tuple[
        Float[Tensor, "B ready bins"],
        Complex[Tensor, "B ready bins"],
        Complex[Tensor, "B ready bins"],
    ]:
        """The same three of the spectra that are ready, one round later."""
        found = self.analysis.push(self.synthesis.push(spectra, is_last), is_last)
        self.magnitudes.add(magnitudes)
        self.before.add(before)
        wanted = self.magnitudes.take(found.shape[1])
        return wanted, impose(wanted, found, self.before.take(found.shape[1])), found


class SynthesisStream(StreamStage):
    """`FramedSTFT.synthesize` over pieces, which keeps the sums that later windows will add to."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.still_to_cut = stft.margin
        self.sums: Float[Tensor, "rows open hop"] | None = None

    def push(self, piece: Complex[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B N"]:
        sums = self.stft.no_sums(len(piece)) if self.sums is None else self.sums
        num_spectra = piece.shape[1]
        if num_spectra:
            sums = self.stft.overlap_add(piece, sums)
        self.sums = sums[:, num_spectra:].clone()
        num_ready = num_spectra * self.stft.hop_samples
        samples = rearrange(sums, "rows slots hop -> rows (slots hop)")
        ready = samples[:, self.still_to_cut : num_ready + (self.stft.margin if is_last else 0)]
        self.still_to_cut = max(0, self.still_to_cut - num_ready)
        return divide(ready)

    def last_needed(self, step: int) -> int:
        return (step + self.stft.margin) // self.stft.hop_samples


class AnalysisStream(StreamStage):
    """`FramedSTFT.analyze` over pieces, which keeps the samples that its next window begins with."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.kept: Float[Tensor, "B N"] | None = None

    def push(self, piece: Float[Tensor, "B N"], is_last: bool) -> Complex[Tensor, "B spectra bins"]:
        window, hop, margin = self.stft.window_samples, self.stft.hop_samples, self.stft.margin
        if self.kept is None:
            self.kept = piece.new_zeros(len(piece), margin)
        samples = pad(torch.cat([self.kept, piece], dim=-1), (0, window - hop - margin if is_last else 0))
        num_ready = max(0, (samples.shape[-1] - window) // hop + 1)
        self.kept = samples[:, num_ready * hop :].clone()
        if not num_ready:
            return torch.zeros(len(samples), 0, window // 2 + 1, dtype=torch.complex64, device=samples.device)
        return self.stft.analyze_padded(samples)

    def last_needed(self, step: int) -> int:
        return step * self.stft.hop_samples - self.stft.margin + self.stft.window_samples - 1


class WholeHops(StreamStage):
    """Fills up the last hop with silence."""

    def __init__(self, hop_samples: int) -> None:
        self.hop_samples = hop_samples
        self.num_seen = 0

    def push(self, piece: Float[Tensor, "B N"], is_last: bool) -> Float[Tensor, "B filled"]:
        self.num_seen += piece.shape[-1]
        return pad(piece, (0, -self.num_seen % self.hop_samples)) if is_last else piece

    def last_needed(self, step: int) -> int:
        return step
