"""Streaming phase reconstruction: `phase.find_wave` as a pipeline of its rounds.

In a round a spectrum depends only on those whose windows overlap its own. So every round runs a few spectra behind the
one before it, and keeps only the sums of unfinished windows and the spectra that wait for them.
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

    def push(self, chunk: Float[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B N"]:
        magnitudes, spectra = chunk, self._start(chunk)
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
    """One round of Griffin-Lim, on spectra with their target magnitudes and the spectra of the round before."""

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
        """The same three for the spectra that are ready, one round later."""
        found = self.analysis.push(self.synthesis.push(spectra, is_last), is_last)
        self.magnitudes.add(magnitudes)
        self.before.add(before)
        targets = self.magnitudes.take(found.shape[1])
        return targets, impose(targets, found, self.before.take(found.shape[1])), found


class SynthesisStream(StreamStage):
    """`FramedSTFT.synthesize` in chunks; it keeps the sums that later windows will add to."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.still_to_cut = stft.margin
        self.sums: Float[Tensor, "rows open hop"] | None = None

    def push(self, chunk: Complex[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B N"]:
        sums = self.stft.no_sums(len(chunk)) if self.sums is None else self.sums
        num_spectra = chunk.shape[1]
        if num_spectra:
            sums = self.stft.overlap_add(chunk, sums)
        self.sums = sums[:, num_spectra:].clone()
        num_ready = num_spectra * self.stft.hop_samples
        samples = rearrange(sums, "rows slots hop -> rows (slots hop)")
        ready = samples[:, self.still_to_cut : num_ready + (self.stft.margin if is_last else 0)]
        self.still_to_cut = max(0, self.still_to_cut - num_ready)
        return divide(ready)

    def last_needed(self, step: int) -> int:
        return (step + self.stft.margin) // self.stft.hop_samples


class AnalysisStream(StreamStage):
    """`FramedSTFT.analyze` in chunks; it keeps the samples that its next window begins with."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.kept: Float[Tensor, "B N"] | None = None

    def push(self, chunk: Float[Tensor, "B N"], is_last: bool) -> Complex[Tensor, "B spectra bins"]:
        window, hop, margin = self.stft.window_samples, self.stft.hop_samples, self.stft.margin
        if self.kept is None:
            self.kept = chunk.new_zeros(len(chunk), margin)
        samples = pad(torch.cat([self.kept, chunk], dim=-1), (0, window - hop - margin if is_last else 0))
        num_ready = max(0, (samples.shape[-1] - window) // hop + 1)
        self.kept = samples[:, num_ready * hop :].clone()
        if not num_ready:
            return torch.zeros(len(samples), 0, window // 2 + 1, dtype=torch.complex64, device=samples.device)
        return self.stft.analyze_padded(samples)

    def last_needed(self, step: int) -> int:
        return step * self.stft.hop_samples - self.stft.margin + self.stft.window_samples - 1


class WholeHops(StreamStage):
    """Pads the last hop with zeros."""

    def __init__(self, hop_samples: int) -> None:
        self.hop_samples = hop_samples
        self.num_seen = 0

    def push(self, chunk: Float[Tensor, "B N"], is_last: bool) -> Float[Tensor, "B filled"]:
        self.num_seen += chunk.shape[-1]
        return pad(chunk, (0, -self.num_seen % self.hop_samples)) if is_last else chunk

    def last_needed(self, step: int) -> int:
        return step
