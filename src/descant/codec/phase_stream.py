"""Waves from magnitudes alone, in chunks or in one go (Griffin-Lim, IEEE TASSP 32(2), 1984).

The initial phases advance at the pitch of each partial. Each round then synthesises the wave, analyses it, and replaces
the resulting magnitudes by the target ones. Rounds alone, from phases of zero, mistune held notes by several Hz.

In a round a spectrum depends only on those whose windows overlap its own. So every round runs a few spectra behind the
one before it, and keeps only the sums of unfinished windows and the spectra that wait for them.
Spectra are [B, spectra, bins] here and samples [B, N].
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from descant.codec.phase import FramedSTFT, running_phases
from descant.nn.stream import StreamStage

MOMENTUM = 0.99
"""Of the fast variant of Griffin-Lim (WASPAA 2013, doi 10.1109/WASPAA.2013.6701851); 0 is the original."""


def find_wave(stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"], iterations: int) -> Float[Tensor, "B N"]:
    """A wave whose spectra have nearly these magnitudes; which of many such waves depends on the magnitudes alone.

    Gradients do not pass.
    """
    return WaveStream(stft, iterations).push(magnitudes, is_last=True)


class WaveStream(StreamStage):
    """Magnitudes to samples: running phases, rounds of Griffin-Lim, and a last synthesis."""

    def __init__(self, stft: FramedSTFT, iterations: int) -> None:
        self.stft = stft
        self.phase: Float[Tensor, "B bins"] | None = None
        self.rounds = [_Round(stft) for _ in range(iterations)]
        self.sums = OverlapAdd(stft)
        self.targets: Float[Tensor, "B spectra bins"] | None = None

    @torch.inference_mode(mode=False)  # what is kept can then be written in inference mode and outside of it
    @torch.no_grad()
    def push(self, chunk: Float[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B N"]:
        magnitudes = chunk if self.targets is None else torch.cat([self.targets, chunk], dim=1)
        # Twice, for the real and the imaginary parts: a product of complex and real numbers is much slower.
        targets = torch.stack([magnitudes, magnitudes], dim=-1)
        spectra, before, first = self._start(chunk), None, self._num_done
        for one_round in self.rounds:
            spectra, before = one_round.push(spectra, before, targets[:, one_round.num_done - first :], is_last)
        to_cut = max(0, self.stft.margin - self.sums.num_seen * self.stft.hop_samples)
        samples = self.sums.push(spectra, is_last)[:, self.stft.num_earlier :].flatten(start_dim=1)
        beyond = self.stft.num_earlier * self.stft.hop_samples - self.stft.margin if is_last else 0
        self.targets = magnitudes[:, self._num_done - first :].clone()
        return samples[:, to_cut : max(0, samples.shape[-1] - beyond)]

    def last_needed(self, step: int) -> int:
        spectrum = (step + self.stft.margin) // self.stft.hop_samples
        return spectrum + len(self.rounds) * self.stft.num_earlier

    @property
    def _num_done(self) -> int:
        """How many spectra have passed all rounds."""
        return self.rounds[-1].num_done if self.rounds else self.sums.num_seen

    def _start(self, magnitudes: Float[Tensor, "B spectra bins"]) -> Complex[Tensor, "B spectra bins"]:
        if not magnitudes.shape[1]:
            return torch.polar(magnitudes, magnitudes)
        if self.phase is None:
            self.phase = torch.zeros_like(magnitudes[:, 0])
        phases = running_phases(self.stft, magnitudes, self.phase)
        self.phase = phases[:, -1].clone()
        return torch.polar(magnitudes, phases)


class _Round:
    """One round of Griffin-Lim."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.sums = OverlapAdd(stft)
        self.num_done = 0
        self.before: Complex[Tensor, "B spectra bins"] | None = None

    def push(
        self,
        spectra: Complex[Tensor, "B spectra bins"],
        before: Complex[Tensor, "B spectra bins"] | None,
        targets: Float[Tensor, "B targets bins parts"],
        is_last: bool,
    ) -> tuple[Complex[Tensor, "B ready bins"], Complex[Tensor, "B ready bins"]]:
        """The spectra that become ready, with their target magnitudes, and what this round found for them.

        Args:
            before: what the round before found for these spectra; None in the first round.
            targets: the magnitudes of all spectra that this round has not returned, and of later ones.
        """
        num_missing = max(0, self.stft.num_earlier - self.sums.num_seen)
        wave = self.sums.push(spectra, is_last)[:, num_missing:].flatten(start_dim=1)
        found = self.stft.analyze_padded(wave) if wave.shape[-1] >= self.stft.window_samples else spectra[:, :0]
        accelerated = found if before is None else self._accelerate(found, before)
        self.num_done += found.shape[1]
        directions = accelerated.sgn()
        torch.view_as_real(directions).mul_(targets[:, : found.shape[1]])
        return directions, found

    def _accelerate(
        self, found: Complex[Tensor, "B ready bins"], before: Complex[Tensor, "B spectra bins"]
    ) -> Complex[Tensor, "B ready bins"]:
        """What was found, plus a share of its change since the round before. What that found for later ones is kept."""
        num_ready = found.shape[1]
        waiting = before if self.before is None else torch.cat([self.before, before], dim=1)
        accelerated = torch.sub(found, waiting[:, :num_ready], alpha=MOMENTUM / (1 + MOMENTUM))
        self.before = waiting[:, num_ready:].clone()
        return accelerated


class OverlapAdd:
    """`FramedSTFT.synthesize` in chunks, in whole hops from the start of the first window.

    It keeps the sums that later windows will add to, and as many final hops as a window reaches back.
    """

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.num_seen = 0
        self.kept: Float[Tensor, "B kept hop"] | None = None

    def push(self, spectra: Complex[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B hops hop"]:
        """The hops that these spectra make final, after the ``num_earlier`` hops before them.

        Before the first sample of the wave and after its last there are zeros.
        """
        earlier, hop_samples, num_new = self.stft.num_earlier, self.stft.hop_samples, spectra.shape[1]
        if self.kept is None:
            self.kept = self.stft.weights.new_zeros(len(spectra), 2 * earlier, hop_samples)
        hops = pad(self.kept, (0, 0, 0, num_new))
        if num_new:
            self.stft.overlap_add(spectra, hops[:, earlier:])
        num_hops = num_new + (2 * earlier if is_last else earlier)
        weights = self._weights(num_hops - earlier, self.num_seen + num_new if is_last else None)
        hops[:, earlier:num_hops].div_(weights)
        samples, first = hops.flatten(start_dim=1), self.stft.margin + (earlier - self.num_seen) * hop_samples
        self.num_seen += num_new
        if first > 0:
            samples[:, :first].zero_()
        if is_last:
            samples[:, first + self.num_seen * hop_samples :].zero_()
        self.kept = hops[:, num_new:].clone()
        return hops[:, :num_hops]

    def _weights(self, num_hops: int, num_spectra: int | None) -> Float[Tensor, "hops hop"]:
        """What to divide the hops from ``num_seen`` on by; one row if it is the same for all."""
        if self.num_seen >= self.stft.num_earlier and num_spectra is None:
            return self.stft.weights[:1, self.stft.num_earlier]
        return self.stft.weights_of(torch.arange(self.num_seen, self.num_seen + num_hops), num_spectra)


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
