"""Waves from magnitudes alone, in chunks or in one go (Griffin-Lim, IEEE TASSP 32(2), 1984).

The initial phases advance at the pitch of each partial. Each round then synthesises the wave, analyses it, and replaces
the resulting magnitudes by the target ones. Rounds alone, from phases of zero, mistune held notes by several Hz.

In a round a spectrum depends only on those whose windows overlap its own. So every round runs a few spectra behind the
one before it, and keeps only the sums of unfinished windows and the spectra that wait for them.
A stage takes spectra [B, spectra, bins] and gives samples [B, N]; what it consists of, [spectra, bins] and [N].
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from descant.codec.compiled_wave import CompiledWave, can_compile
from descant.codec.phase import FramedSTFT, running_turns
from descant.codec.phase_shape import MOMENTUM
from descant.nn.stream import StreamStage


def find_wave(stft: FramedSTFT, magnitudes: Float[Tensor, "B spectra bins"], iterations: int) -> Float[Tensor, "B N"]:
    """A wave whose spectra have nearly these magnitudes; which of many such waves depends on the magnitudes alone.

    Gradients do not pass.
    """
    return WaveStream(stft, iterations).push(magnitudes, is_last=True)


class WaveStream(StreamStage):
    """Magnitudes to samples: running phases, rounds of Griffin-Lim, and a last synthesis."""

    def __init__(self, stft: FramedSTFT, iterations: int) -> None:
        self.stft = stft
        self.iterations = iterations
        self.rows: list[_Row | CompiledWave] = []

    @torch.inference_mode(mode=False)  # what is kept can then be written in inference mode and outside of it
    @torch.no_grad()
    def push(self, chunk: Float[Tensor, "B spectra bins"], is_last: bool) -> Float[Tensor, "B N"]:
        if not self.rows:
            row = CompiledWave if can_compile(self.stft, chunk) else _Row
            self.rows = [row(self.stft, self.iterations) for _ in chunk]
        pushed = torch.no_grad()(lambda row, part: row.push(part, is_last))  # a thread has a mode of its own
        # Each wave apart: all that one of them reads and writes in a round stays in the cache.
        num_threads = min(torch.get_num_threads(), len(self.rows))
        with ThreadPoolExecutor(num_threads) if num_threads > 1 else nullcontext() as threads:
            waves = map if threads is None else threads.map
            return torch.stack([*waves(pushed, self.rows, chunk)])

    def last_needed(self, step: int) -> int:
        spectrum = (step + self.stft.margin) // self.stft.hop_samples
        return spectrum + self.iterations * self.stft.num_earlier


class _Row:
    """One wave of a `WaveStream`."""

    def __init__(self, stft: FramedSTFT, iterations: int) -> None:
        self.stft = stft
        self.turn: Float[Tensor, " bins"] | None = None
        self.rounds = [_Round(stft) for _ in range(iterations)]
        self.sums = OverlapAdd(stft)
        self.targets: Float[Tensor, "spectra bins"] | None = None

    def push(self, chunk: Float[Tensor, "spectra bins"], is_last: bool) -> Float[Tensor, " N"]:
        """The samples that this chunk makes final."""
        targets = chunk.contiguous() if self.targets is None else torch.cat([self.targets, chunk])
        first, spectra = self._num_done, self._start(chunk)
        before: Complex[Tensor, "spectra bins"] | None = None
        for one_round in self.rounds:
            spectra, before = one_round.push(spectra, before, targets[one_round.num_done - first :], is_last)
        to_cut = max(0, self.stft.margin - self.sums.num_seen * self.stft.hop_samples)
        samples = self.sums.push(spectra, is_last)[self.stft.num_earlier :].flatten()
        beyond = self.stft.num_earlier * self.stft.hop_samples - self.stft.margin if is_last else 0
        self.targets = targets[self._num_done - first :].clone()
        return samples[to_cut : max(0, len(samples) - beyond)]

    @property
    def _num_done(self) -> int:
        """How many spectra have passed all rounds."""
        return self.rounds[-1].num_done if self.rounds else self.sums.num_seen

    def _start(self, magnitudes: Float[Tensor, "spectra bins"]) -> Complex[Tensor, "spectra bins"]:
        if not len(magnitudes):
            return torch.polar(magnitudes, magnitudes)
        if self.turn is None:
            self.turn = torch.zeros_like(magnitudes[0])
        turns = running_turns(self.stft, magnitudes[None], self.turn[None])[0]
        self.turn = turns[-1].clone()
        return torch.polar(magnitudes, 2 * torch.pi * turns)


class _Round:
    """One round of Griffin-Lim."""

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.sums = OverlapAdd(stft)
        self.num_done = 0
        self.before: Complex[Tensor, "spectra bins"] | None = None

    def push(
        self,
        spectra: Complex[Tensor, "spectra bins"],
        before: Complex[Tensor, "spectra bins"] | None,
        targets: Float[Tensor, "targets bins"],
        is_last: bool,
    ) -> tuple[Complex[Tensor, "ready bins"], Complex[Tensor, "ready bins"]]:
        """The spectra that become ready, with their target magnitudes, and what this round found for them.

        Args:
            before: what the round before found for these spectra; None in the first round.
            targets: the magnitudes of all spectra that this round has not returned, and of later ones.
        """
        num_missing = max(0, self.stft.num_earlier - self.sums.num_seen)
        wave = self.sums.push(spectra, is_last)[num_missing:].flatten()
        num_ready = max(0, (len(wave) - self.stft.window_samples) // self.stft.hop_samples + 1)
        found = self.stft.analyze_padded(wave[None])[0] if num_ready else spectra[:0]
        self.num_done += num_ready
        return self._aim(found, before, targets[:num_ready]), found

    def _aim(
        self,
        found: Complex[Tensor, "ready bins"],
        before: Complex[Tensor, "spectra bins"] | None,
        targets: Float[Tensor, "ready bins"],
    ) -> Complex[Tensor, "ready bins"]:
        """The next spectra. What the round before found for later ones is kept."""
        if before is not None:
            kept = before[:0] if self.before is None else self.before
            earlier = torch.cat([kept, before])
            self.before = earlier[len(found) :].clone()  # a view would keep all of it in memory
            directions = found - MOMENTUM / (1 + MOMENTUM) * earlier[: len(found)]
        else:
            directions = found
        return directions.sgn() * targets


class OverlapAdd:
    """`FramedSTFT.synthesize` in chunks, in whole hops from the start of the first window.

    It keeps the sums that later windows will add to, and as many final hops as a window reaches back.
    """

    def __init__(self, stft: FramedSTFT) -> None:
        self.stft = stft
        self.num_seen = 0
        self.kept: Float[Tensor, "kept hop"] | None = None

    def push(self, spectra: Complex[Tensor, "spectra bins"], is_last: bool) -> Float[Tensor, "hops hop"]:
        """The hops that these spectra make final, after the ``num_earlier`` hops before them.

        Before the first sample of the wave and after its last there are zeros.
        """
        earlier, hop_samples, num_new = self.stft.num_earlier, self.stft.hop_samples, len(spectra)
        if self.kept is None:
            self.kept = self.stft.weights.new_zeros(2 * earlier, hop_samples)
        hops = pad(self.kept, (0, 0, 0, num_new))
        if num_new:
            self.stft.overlap_add(spectra[None], hops[None, earlier:])
        num_hops = num_new + (2 * earlier if is_last else earlier)
        self._divide(hops[earlier:num_hops], self.num_seen + num_new if is_last else None)
        samples, first = hops.flatten(), self.stft.margin + (earlier - self.num_seen) * hop_samples
        self.num_seen += num_new
        if first > 0:
            samples[:first].zero_()
        if is_last:
            samples[first + self.num_seen * hop_samples :].zero_()
        self.kept = hops[num_new:].clone()
        return hops[:num_hops]

    def _divide(self, hops: Float[Tensor, "hops hop"], num_spectra: int | None) -> None:
        """Divides the hops from ``num_seen`` on by the sums of their squared windows, all alike but at the ends."""
        earlier, num_hops = self.stft.num_earlier, len(hops)
        start = min(max(0, earlier - self.num_seen), num_hops)
        end = num_hops if num_spectra is None else max(start, num_hops - earlier)
        hops[start:end].div_(self.stft.weights[0, earlier])
        for first, last in ((0, start), (end, num_hops)):
            if first < last:
                places = torch.arange(self.num_seen + first, self.num_seen + last)
                hops[first:last].div_(self.stft.weights_of(places, num_spectra))


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
