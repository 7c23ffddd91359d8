"""Griffin-Lim of one wave in compiled code; `phase_stream` explains the rounds and how they follow each other."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descant.codec.phase import FramedSTFT
from descant.codec.phase_code import add_rounds
from descant.codec.phase_shape import MOMENTUM, RoundShape, ScaleWord, SpectraWord
from descant.codec.turns_code import compiled_turns
from descant.compiled.code import Target, is_supported
from descant.compiled.library import compiled_library

SPECTRA_AT_ONCE = 64
"""Spectra that pass all rounds before the next: with their waves and targets they fill two megabytes, the cache that a
core has for itself."""

SMALLEST_WINDOW = 64

SHARE_BITS = int(np.float32(MOMENTUM / (1 + MOMENTUM)).view(np.int32))
"""What found + MOMENTUM * (found - before) subtracts of ``before``, up to the size of the result."""


def can_compile(stft: FramedSTFT, magnitudes: Tensor) -> bool:
    """Whether there is compiled code for these sizes, on this device."""
    window, hop = stft.window_samples, stft.hop_samples
    is_power = window >= SMALLEST_WINDOW and window & (window - 1) == 0
    is_plain = magnitudes.device.type == "cpu" and magnitudes.dtype == stft.analysis_window.dtype == torch.float32
    return is_power and hop % 2 == 0 and is_plain and is_supported()


class RoundCode:
    """The compiled functions for one size of window and hop, and their tables."""

    def __init__(self, shape: RoundShape, target: Target) -> None:
        self.shape = shape
        library = compiled_library(target, add_rounds, shape)
        self.begin, self.aim, self.scale = (library.function(name, 1) for name in ("begin", "aim", "scale"))
        self.move = library.function("move", 6)
        stft = FramedSTFT(shape.window_samples, shape.hop_samples)
        self._tables = {
            SpectraWord.TWIDDLES: shape.plan.twiddles(),
            SpectraWord.PAIRS: shape.pair_places(),
            SpectraWord.PAIR_TWIDDLES: shape.pair_twiddles(),
            SpectraWord.GROUPS: shape.groups(),
            SpectraWord.ANALYSIS_WINDOW: stft.analysis_window.numpy(),
            SpectraWord.SYNTHESIS_WINDOW: (stft.synthesis_window / shape.window_samples).numpy(),
        }
        self._scales = _scales(stft).numpy()

    def spectra_words(self) -> np.ndarray:
        """The words of ``begin`` and ``aim``, with the tables."""
        words = np.zeros(len(SpectraWord), np.int64)
        for word, table in self._tables.items():
            words[word] = table.ctypes.data
        return words

    def scale_words(self) -> np.ndarray:
        """The words of ``scale``, with the table."""
        words = np.zeros(len(ScaleWord), np.int64)
        words[ScaleWord.SCALES] = self._scales.ctypes.data
        return words


@cache
def round_code(window_samples: int, hop_samples: int, target: Target) -> RoundCode:
    """The code for a processor."""
    return RoundCode(RoundShape(window_samples, hop_samples, target.register_bytes // 4), target)


def _scales(stft: FramedSTFT) -> Float[Tensor, "kinds hop"]:
    """What sums of windows are multiplied with: one over those of the squared windows, and zero outside of the wave.

    By how many hops the wave's last window begins before the hop, and then by how many the first one does, from the
    most to none. So the first row is the usual one.
    """
    earlier, hop, margin = stft.num_earlier, stft.hop_samples, stft.margin
    weights = stft.weights.flip(1)
    scales = torch.where(weights > 0, 1 / weights, 0)
    for distance in range(earlier + 1):
        scales[:, earlier - distance, : max(0, margin - distance * hop)] = 0
        if distance:
            scales[distance, :, max(0, margin - (distance - 1) * hop) :] = 0
    return scales.flatten(0, 1).contiguous()


class CompiledWave:
    """One wave, in chunks of spectra.

    Of the wave of each round it keeps a few hops, as far as windows are missing in them or the next round needs them.
    """

    def __init__(self, stft: FramedSTFT, iterations: int, target: Target | None = None) -> None:
        self.stft, self.iterations = stft, iterations
        self.target = target or Target.host()
        self.code = code = round_code(stft.window_samples, stft.hop_samples, self.target)
        self.num_seen = [0] * (iterations + 1)
        """Of how many spectra the wave of each round consists so far; the last wave is the result."""
        self.num_before = stft.margin
        """How many samples are left before the first one of the wave."""
        self.turn = torch.zeros(stft.window_samples // 2 + 1)
        waiting, lanes, kept = iterations * stft.num_earlier, code.shape.lanes, code.shape.kept_columns
        self.targets, self.turns = torch.zeros(2, len(self.turn), SPECTRA_AT_ONCE + waiting + lanes)
        columns = -(-(max(SPECTRA_AT_ONCE, waiting) + 2 * stft.num_earlier + lanes) // kept) * kept
        self.columns = columns
        self.kept = torch.zeros(iterations + 1, 2, stft.hop_samples, kept)
        self.waves = torch.zeros(2, stft.hop_samples, columns)
        self.changed = torch.zeros(stft.hop_samples, columns)
        self.memory = torch.zeros(stft.window_samples * lanes)
        self.kinds, self.places = np.zeros(columns, np.int64), code.shape.places(columns)
        self.spectra_words, self.scale_words = code.spectra_words(), code.scale_words()
        self.spectra_words[SpectraWord.PLACES] = self.places.ctypes.data
        self.spectra_words[SpectraWord.MEMORY] = self.memory.data_ptr()
        self.spectra_words[SpectraWord.TARGET_STRIDE] = self.targets.shape[1]
        self.scale_words[ScaleWord.KINDS] = self.kinds.ctypes.data
        self.spectra_words[SpectraWord.COLUMNS] = self.scale_words[ScaleWord.COLUMNS] = columns

    @torch.no_grad()
    def push(self, chunk: Float[Tensor, "spectra bins"], is_last: bool) -> Float[Tensor, " N"]:
        """The samples that this chunk makes final."""
        hops = [self._push(part, is_last=False) for part in chunk.split(SPECTRA_AT_ONCE) if len(part)]
        if is_last:
            hops.append(self._push(chunk[:0], is_last=True))
        samples = torch.cat([chunk.new_zeros(0, self.stft.hop_samples), *hops]).flatten()
        start = min(len(samples), self.num_before)
        self.num_before -= start
        beyond = self.stft.num_earlier * self.stft.hop_samples - self.stft.margin if is_last else 0
        return samples[start : max(start, len(samples) - beyond)]

    def _push(self, chunk: Float[Tensor, "spectra bins"], is_last: bool) -> Float[Tensor, "hops hop"]:
        """As many rounds as there can be, a wave after another in the same memory."""
        earlier, seen, words = self.stft.num_earlier, self.num_seen, self.spectra_words
        starts = [*seen[1:], seen[-1]]  # the first hop of each wave that is still needed
        (wave, other), changed, targets = map(_address, self.waves), _address(self.changed), _address(self.targets)
        kept, bytes_kept = _address(self.kept), 4 * self.kept[0, 0].numel()
        run_aim, words_at = self.code.aim, words.ctypes.data
        num_new, num_held = len(chunk), seen[0] - seen[-1]
        self._resume(kept, wave, self.columns)
        if num_new:
            self._begin(chunk.contiguous(), num_held, wave + 4 * (seen[0] - starts[0]))
        for number in range(self.iterations):
            self._resume(kept + bytes_kept, changed, 0)
            column = seen[number] - starts[number]
            end = self._scale(number, wave, other, column, num_new, is_last)
            num_ready = max(0, end - earlier - seen[number + 1])
            self._resume(kept + 2 * bytes_kept, other, self.columns)
            words[SpectraWord.SOURCE] = changed
            words[SpectraWord.TARGETS] = targets + 4 * (seen[number + 1] - starts[-1])
            words[SpectraWord.SUMS] = other + 4 * (seen[number + 1] - starts[number + 1])
            words[SpectraWord.COUNT] = num_ready
            run_aim(words_at)
            num_kept = seen[number] - starts[number] - num_ready
            self._keep(wave + 4 * num_ready, kept, num_kept + earlier)
            self._keep(changed + 4 * num_ready, kept + bytes_kept, num_kept)
            wave, other, num_new, kept = other, wave, num_ready, kept + 2 * bytes_kept
        end = self._scale(self.iterations, wave, other, 0, num_new, is_last)
        self._keep(wave + 4 * num_new, kept, earlier)
        self.targets[:, : seen[0] - seen[-1]] = self.targets[:, num_new : num_held + len(chunk)].clone()
        return self.waves[self.iterations % 2, :, : end - starts[-1]].T.contiguous()

    def _begin(self, magnitudes: Float[Tensor, "new bins"], num_held: int, sums: int) -> None:
        """Adds windows with these magnitudes and the initial phases to the sums."""
        num_new, words = len(magnitudes), self.spectra_words
        turns = compiled_turns(magnitudes, self.turn, self.stft.hop_samples / self.stft.window_samples, self.target)
        self.turn = turns[-1].clone()
        self.turns[:, :num_new] = turns.T
        self.targets[:, num_held : num_held + num_new] = magnitudes.T
        words[SpectraWord.SOURCE], words[SpectraWord.SUMS] = _address(self.turns), sums
        words[SpectraWord.TARGETS], words[SpectraWord.COUNT] = _address(self.targets) + 4 * num_held, num_new
        self.code.begin(words.ctypes.data)

    def _scale(self, number: int, wave: int, before: int, column: int, num_new: int, is_last: bool) -> int:
        """Makes the hops of a wave final, from this column on; gives how many hops are."""
        earlier, words = self.stft.num_earlier, self.scale_words
        first = self.num_seen[number]
        self.num_seen[number] = num_spectra = first + num_new
        end = num_spectra + (earlier if is_last else 0)
        if first < earlier or is_last:
            hops = np.arange(first, end)
            newest = np.maximum(hops + 1 - num_spectra, 0)
            self.kinds[: end - first] = newest * (earlier + 1) + earlier - np.minimum(hops, earlier)
        first_usual = min(max(0, earlier - first), end - first)
        words[ScaleWord.WAVE] = wave + 4 * column
        # The first wave has none before it.
        words[ScaleWord.BEFORE] = before if number else wave + 4 * column
        words[ScaleWord.SHARE] = SHARE_BITS if number else 0
        words[ScaleWord.CHANGED] = _address(self.changed) + 4 * column
        words[ScaleWord.COUNT], words[ScaleWord.FIRST_USUAL] = end - first, first_usual
        words[ScaleWord.END_USUAL] = max(first_usual, num_new)
        self.code.scale(words.ctypes.data)
        return end

    def _resume(self, kept: int, wave: int, end: int) -> None:
        """Brings the first hops of a wave back, and zeros after them up to a column."""
        num_kept = self.code.shape.kept_columns
        self.code.move(kept, num_kept, wave, self.columns, num_kept, end)

    def _keep(self, wave: int, kept: int, count: int) -> None:
        """Saves so many hops of a wave."""
        self.code.move(wave, self.columns, kept, self.code.shape.kept_columns, count, 0)


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()
