"""The weights of the estimators of tempo and key.

``weights.json`` is written by ``python -m starter_corpus estimators-report``, from the pieces for training of the
starter's corpus.
"""

import json
from functools import cache
from importlib.resources import files as resources
from typing import Literal

import numpy as np
from jaxtyping import Float


@cache
def read_weights(name: Literal["tempo", "key"]) -> Float[np.ndarray, " features"]:
    """The weights of an estimator, in the order of its features."""
    content = json.loads((resources("descant.curation") / "weights.json").read_text(encoding="utf-8"))
    return np.array(content[name])
