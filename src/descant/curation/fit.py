"""Fits the weights of the estimators of tempo and key to music whose tempo and key are known."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from descant.curation.tempo import TEMPI_BPM

TEMPO_PENALTY, KEY_PENALTY = 2.0, 0.1
TEMPO_SPREAD = 0.012
"""How far, relative to the tempo, its neighbours on the grid are as good."""


def fit_choice(
    features: Sequence[Float[np.ndarray, "choices features"]],
    targets: Float[np.ndarray, "clips choices"],
    penalty: float,
) -> Float[np.ndarray, " features"]:
    """The weights under which the softmax of ``features @ weights`` is nearest to the targets, by cross-entropy.

    This is McFadden's conditional logit. Features are scaled to unit deviation for the penalty on squared weights.
    """
    from scipy.optimize import minimize

    stacked = np.stack(features)
    scale = stacked.reshape(-1, stacked.shape[2]).std(axis=0) + 1e-9
    scaled = stacked / scale

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = scaled @ weights
        scores -= scores.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(scores).sum(axis=1, keepdims=True))
        loss = -(targets * (scores - log_total)).sum() + penalty * weights @ weights
        error = np.exp(scores - log_total) - targets
        return float(loss), np.einsum("nc,ncf->f", error, scaled) + 2 * penalty * weights

    found = minimize(loss_and_gradient, np.zeros(len(scale)), jac=True, method="L-BFGS-B")
    return found.x / scale


def tempo_targets(bpm: Sequence[float]) -> Float[np.ndarray, "clips tempi"]:
    """For each tempo the weights of the grid's tempi near it, 1 in sum."""
    distance = np.log(TEMPI_BPM[None] / np.asarray(bpm)[:, None]) / TEMPO_SPREAD
    near = np.exp(-(distance**2) / 2)
    return near / near.sum(axis=1, keepdims=True)


def key_targets(keys: Sequence[int]) -> Float[np.ndarray, "clips 24"]:
    """For each key, by its number in ``KEYS``, 1 there and 0 elsewhere."""
    return np.eye(24)[np.asarray(keys)]
