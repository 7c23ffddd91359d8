"""The sizes, tables and words of Griffin-Lim's compiled rounds, which are in `phase_code.py`."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from descant.codec.fourier_code import FIRST_RADIX, Plan
from descant.compiled.code import Word

MOMENTUM = 0.99
"""Of the fast variant of Griffin-Lim (WASPAA 2013, doi 10.1109/WASPAA.2013.6701851); 0 is the original."""


class SpectraWord(Word):
    """The 64-bit words of the functions that synthesise windows. Strides count floats.

    ``SOURCE`` is the first window's column of the wave to be analysed, or the phases in turns [bins, windows] to begin
    with; ``TARGETS`` its magnitudes [bins, windows], ``SUMS`` its column of the wave that windows are added to. As many
    columns as fill the last vector can be read after the last of ``COUNT`` windows.
    """

    SOURCE = 0
    TARGETS = 1
    TARGET_STRIDE = 2
    SUMS = 3
    COUNT = 4
    MEMORY = 5
    TWIDDLES = 6
    PLACES = 7
    PAIRS = 8
    PAIR_TWIDDLES = 9
    ANALYSIS_WINDOW = 10
    SYNTHESIS_WINDOW = 11
    GROUPS = 12
    COLUMNS = 13


class GroupWord(Word):
    """The words of a group of frequencies whose elements lie in the same one or two of the small transforms: those of k
    and N - k are needed together. Transforms are given by their first elements."""

    HAS_ENDS = 0
    FIRST_PAIR = 1
    END_PAIR = 2
    NUM_TRANSFORMS = 3
    TRANSFORMS = 4
    OTHER_TRANSFORM = 5


GROUPS = (0, FIRST_RADIX // 2, *range(1, FIRST_RADIX // 2))
"""The remainders k % FIRST_RADIX of the groups' frequencies k; of N - k they are as far from zero on its other side."""

NUM_GROUPS = len(GROUPS)


class ScaleWord(Word):
    """The words of the function that divides sums of windows by those of the squared windows: ``COUNT`` columns from
    ``WAVE`` on. ``SCALES`` has a table of a hop for each kind of column, ``KINDS`` the kind of each; those from
    ``FIRST_USUAL`` up to ``END_USUAL`` are of kind 0. ``CHANGED`` gets the wave minus ``SHARE``, a float, of the wave
    ``BEFORE``."""

    WAVE = 0
    BEFORE = 1
    CHANGED = 2
    COUNT = 3
    SCALES = 4
    KINDS = 5
    FIRST_USUAL = 6
    END_USUAL = 7
    SHARE = 8
    COLUMNS = 9


@dataclass(frozen=True)
class RoundShape:
    """What the code depends on.

    Args:
        window_samples: a power of two from 32 on.
        hop_samples: even.
        lanes: windows at once.
    """

    window_samples: int
    hop_samples: int
    lanes: int

    @property
    def num_earlier(self) -> int:
        """How many earlier windows overlap one."""
        return -(-self.window_samples // self.hop_samples) - 1

    @property
    def kept_columns(self) -> int:
        """Columns of a wave that are saved at once: windows may begin in so many that later ones add to or read."""
        return 1 << (2 * self.num_earlier - 1).bit_length()

    @property
    def plan(self) -> Plan:
        """A window's samples are transformed as half as many complex numbers."""
        return Plan(self.window_samples // 2)

    def places(self, columns: int) -> Int[np.ndarray, " elements"]:
        """Where the first of each pair of samples is, in floats from the window's column on, by the columns of the
        wave's memory."""
        samples = np.arange(0, self.window_samples, 2)
        return samples % self.hop_samples * columns + samples // self.hop_samples

    def pairs(self) -> Int[np.ndarray, "pairs 2"]:
        """Frequencies k and N - k, ordered by groups. The first pair, 0 and N, is left out."""
        size = self.plan.size
        ends = [size // 2 + 1] * 2 + [size] * (NUM_GROUPS - 2)
        return np.array(
            [
                (k, size - k)
                for first, end in zip(GROUPS, ends, strict=True)
                for k in range(first or FIRST_RADIX, end, FIRST_RADIX)
            ]
        )

    def pair_places(self) -> Int[np.ndarray, "pairs 4"]:
        """Elements of both frequencies of a pair, and the frequencies."""
        places = [[self.plan.place(k) for k in pair] for pair in self.pairs().tolist()]
        return np.concatenate([np.array(places), self.pairs()], axis=1)

    def groups(self) -> Int[np.ndarray, "groups words"]:
        """The words of each group."""
        of_pairs, span = (self.pairs()[:, 0] % FIRST_RADIX).tolist(), self.plan.size // FIRST_RADIX
        rows = np.zeros((NUM_GROUPS, len(GroupWord)), np.int64)
        for row, first in zip(rows, GROUPS, strict=True):
            row[GroupWord.NUM_TRANSFORMS] = len({first, -first % FIRST_RADIX})
            row[GroupWord.TRANSFORMS :] = first * span, -first % FIRST_RADIX * span
            row[GroupWord.HAS_ENDS] = first == 0
            row[GroupWord.FIRST_PAIR] = of_pairs.index(first)
            row[GroupWord.END_PAIR] = of_pairs.index(first) + of_pairs.count(first)
        return rows

    def pair_twiddles(self) -> Float[np.ndarray, "pairs 2"]:
        """exp(-2 pi i k / 2 N)."""
        angles = -np.pi / self.plan.size * self.pairs()[:, 0]
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
