"""The weights of the estimators of tempo and key.

``weights.json`` is written by ``python -m starter_corpus estimators-report``, from the pieces for training of the
starter's corpus.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class ChoiceNetwork:
    """Scores choices by their features, through one layer of tanh units."""

    hidden: Float[np.ndarray, "features units"]
    bias: Float[np.ndarray, " units"]
    output: Float[np.ndarray, " units"]

    def scores(self, features: Float[np.ndarray, "*pieces choices features"]) -> Float[np.ndarray, "*pieces choices"]:
        """The score of each choice; their softmax gives probabilities."""
        return np.tanh(features @ self.hidden + self.bias) @ self.output


@cache
def tempo_network() -> ChoiceNetwork:
    """The network that chooses a tempo."""
    return ChoiceNetwork(**{name: np.array(values) for name, values in _content()["tempo"].items()})


@cache
def key_weights() -> Float[np.ndarray, " features"]:
    """The weights that choose a key, in the order of its features."""
    return np.array(_content()["key"])


def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((resources("descant.curation") / "weights.json").read_text(encoding="utf-8"))
    return content
