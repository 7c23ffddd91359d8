"""Tempo, key and metre for texts that leave them open, drawn from what a model's training captions suggest.

A log-linear model over the words of a text. With ``z`` for the logarithm of a tempo, centred and scaled::

    p(metre | text)        ~ exp(c[metre] + sum over words of m[word, metre])
    p(tempo | text, metre) ~ exp(c[tempo] + (a z + b z^2 summed over the words and the metre))
    p(minor | text)        = sigmoid(c + sum over words of s[word])

and tonics as frequent as in the corpus. A word that the corpus does not have changes nothing. What a text states itself
is taken from it, and is not part of its words here. ``recipes/starter_prior.py`` fits the tables.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from descant.conditioning.fitting_tempi import fitting_tempi
from descant.errors import ConfigError
from descant.tempo_key import NUM_KEYS, TempoKey, parse_metre, parse_tempo_key, without_tempo_key

TEMPO_CENTRE_BPM = 100.0
"""Where ``z`` is 0; it is 1 an octave above."""
NUM_TEMPO_WEIGHTS = 2
MIDDLE_SHARE = 0.8
"""The part of the distribution of tempi that is drawn, in its middle: its tails are wider than those of the corpus."""
_WORD = re.compile(r"[^\W\d_]+(?:[-'&][^\W\d_]+)*")
_STREAM = 0x74656D706F  # "tempo"


def tempo_features(tempi_bpm: Sequence[float]) -> Float[np.ndarray, "tempi 2"]:
    """``z`` and ``z**2`` of each tempo."""
    z = np.log2(np.array(tempi_bpm) / TEMPO_CENTRE_BPM)
    return np.stack([z, z**2], axis=1)


def words_of(text: str) -> list[str]:
    """The different words of a text in lower case, without the tempo, the key and the mode that it states."""
    return list(dict.fromkeys(_WORD.findall(without_tempo_key(text).lower())))


@dataclass(frozen=True, kw_only=True)
class TempoKeyPrior:
    """The tables of the model; all weights are natural logarithms.

    Args:
        tempi_bpm: the tempi that can be drawn.
        tempo_weights: of each tempo.
        metres: the metres that can be drawn, such as "6/8".
        metre_weights, metre_tempo_weights: of each metre, and its ``a`` and ``b``.
        minor_weight: the log-odds of minor keys.
        key_weights: of the twelve tonics of major and then of minor keys, C first.
        words: by word ``a``, ``b``, the log-odds of minor keys, and a weight for each metre.
    """

    tempi_bpm: tuple[float, ...]
    tempo_weights: tuple[float, ...]
    metres: tuple[str, ...]
    metre_weights: tuple[float, ...]
    metre_tempo_weights: tuple[tuple[float, float], ...]
    minor_weight: float
    key_weights: tuple[float, ...]
    words: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.tempi_bpm or not self.metres or min(self.tempi_bpm) <= 0:
            raise ConfigError("tempi_bpm, metres: at least one of each, and tempi above 0")
        sizes = {
            "tempo_weights": len(self.tempi_bpm),
            "metre_weights": len(self.metres),
            "metre_tempo_weights": len(self.metres),
            "key_weights": NUM_KEYS,
        }
        for name, size in sizes.items():
            if len(getattr(self, name)) != size:
                raise ConfigError(f"{name}: {len(getattr(self, name))} weights, {size} are needed")
        for word, weights in self.words.items():
            is_list = isinstance(weights, list) and len(weights) == NUM_TEMPO_WEIGHTS + 1 + len(self.metres)
            if not is_list or not all(isinstance(value, int | float) and math.isfinite(value) for value in weights):
                raise ConfigError(f"words: {word!r:.60} needs {NUM_TEMPO_WEIGHTS + 1 + len(self.metres)} numbers")

    def draw(self, text: str, seed: int, moments_s: Sequence[float] = ()) -> tuple[TempoKey, str]:
        """Tempo, key and metre for a text: what it states, and what it leaves open drawn at random.

        The same seed draws the same, and what one text states does not change what is drawn for the rest.

        Args:
            moments_s: seconds above 0 that should fall on beats, as those of given chords. The tempo is one for which
                they do, if there is any; such a one need not be in the table.
        """
        # A generator of its own: the noise that codes are drawn with does not change.
        uniform = np.random.Generator(np.random.Philox(key=[seed, _STREAM])).random(4)
        stated = parse_tempo_key(text)
        metre = parse_metre(text) or self.metres[pick(self.metre_distribution(text), uniform[0])]
        bpm = stated.bpm
        if bpm is None:
            place = 0.5 + MIDDLE_SHARE * (uniform[1] - 0.5)
            tempi, shares = self._tempi_with_beats_at(moments_s, self.tempo_distribution(text, metre))
            bpm = float(tempi[pick(shares, place)])
        is_minor = stated.is_minor
        if is_minor is None:
            is_minor = bool(uniform[2] < self.minor_probability(text))
        key = stated.key
        if key is None:
            tonics = self.key_weights[12:] if is_minor else self.key_weights[:12]
            key = pick(softmax(np.array(tonics)), uniform[3]) + 12 * is_minor
        return TempoKey(bpm=bpm).with_key(key), metre

    def metre_distribution(self, text: str) -> Float[np.ndarray, " metres"]:
        """The probability of each metre."""
        return softmax(np.array(self.metre_weights) + self._sum_of_words(text)[NUM_TEMPO_WEIGHTS + 1 :])

    def tempo_distribution(self, text: str, metre: str) -> Float[np.ndarray, " tempi"]:
        """The probability of each tempo in a metre; one that the corpus does not have changes nothing."""
        slopes = self._sum_of_words(text)[:NUM_TEMPO_WEIGHTS]
        if metre in self.metres:
            slopes = slopes + np.array(self.metre_tempo_weights[self.metres.index(metre)])
        return softmax(np.array(self.tempo_weights) + tempo_features(self.tempi_bpm) @ slopes)

    def minor_probability(self, text: str) -> float:
        """The probability of a minor key."""
        return 1 / (1 + math.exp(-self.minor_weight - self._sum_of_words(text)[NUM_TEMPO_WEIGHTS]))

    def _tempi_with_beats_at(
        self, moments_s: Sequence[float], shares: Float[np.ndarray, " table"]
    ) -> tuple[Float[np.ndarray, " tempi"], Float[np.ndarray, " tempi"]]:
        """The tempi for which these moments fall on beats, as likely as those around them in the table; the table if
        there are no such tempi.

        Args:
            shares: the probability of each tempo of the table.
        """
        table = np.array(self.tempi_bpm)
        fitting = fitting_tempi(moments_s, table.min(), table.max()) if moments_s else table[:0]
        if not len(fitting):
            return table, shares
        # Fitting tempi are equally far apart, and those of the table are not: its shares are taken for each BPM.
        order = np.argsort(table)
        widths = np.gradient(table[order]) if len(table) > 1 else np.ones(1)
        density = np.interp(fitting, table[order], shares[order] / widths)
        return fitting, density / density.sum()

    def _sum_of_words(self, text: str) -> Float[np.ndarray, " weights"]:
        known = [self.words[word] for word in words_of(text) if word in self.words]
        return np.sum([np.zeros(NUM_TEMPO_WEIGHTS + 1 + len(self.metres)), *known], axis=0)


def softmax(weights: Float[np.ndarray, " choices"]) -> Float[np.ndarray, " choices"]:
    """Probabilities from their logarithms, to which any number may be added."""
    p = np.exp(weights - weights.max())
    return p / p.sum()


def pick(probabilities: Float[np.ndarray, " choices"], uniform: float) -> int:
    """The choice at a uniform number's place in the distribution."""
    return min(int(np.searchsorted(probabilities.cumsum(), uniform, side="right")), len(probabilities) - 1)
