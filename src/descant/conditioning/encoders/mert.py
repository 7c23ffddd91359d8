"""MERT, whose features of audio are what a style is made of."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from descant.conditioning.encoders.frozen import (
    check_descriptions,
    copied_to,
    errors_of_reading,
    import_transformers,
    load_network,
)
from descant.conditioning.style import StyleFeatures
from descant.errors import CheckpointError

MERT_RATE_HZ = 24_000

HUBERT_VALUES = {"feature_extractor_cqt": False, "deepnorm": False, "attention_relax": -1.0}
"""Settings that make a MERT more than a HuBERT, with a HuBERT's values, which the released style model's MERT has."""


class MERTFeatures(StyleFeatures):
    """The last layer of MERT (arXiv 2306.00107), frozen, in float32: 75 vectors per second of audio at 24 kHz.

    MERT v1 is a HuBERT with other weights, so transformers reads it as one and no code of the hub is run.

    Args:
        network: transformers' HubertModel.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    @classmethod
    def load(cls, name_or_path: str, revision: str | None = None) -> "MERTFeatures":
        """The network in a folder, or the one with an id on the model hub such as ``m-a-p/MERT-v1-95M``.

        Args:
            revision: a commit or branch of the hub.

        Raises:
            MissingExtra: transformers is not installed.
            CheckpointError: there is no such model, it is not a HuBERT, or a weight is missing.
        """
        transformers = import_transformers("MERT")
        check_descriptions(Path(name_or_path))
        with errors_of_reading("MERT", name_or_path):
            config = transformers.HubertConfig.from_pretrained(name_or_path, revision=revision)
            for name, value in HUBERT_VALUES.items():
                if getattr(config, name, value) != value:
                    raise CheckpointError(
                        f"{name_or_path}: {name}={getattr(config, name)}, only {value} can be read here"
                    )
            network = load_network(
                transformers.HubertModel,
                name_or_path,
                config,
                name=name_or_path,
                revision=revision,
                # It stands for masked frames in training; nothing is masked here.
                optional={"masked_spec_embed"},
            )
        return cls(network)

    @property
    def dim(self) -> int:
        return self._network.config.hidden_size

    @property
    def sample_rate_hz(self) -> int:
        return MERT_RATE_HZ

    def to(self, device: torch.device | str) -> "MERTFeatures":
        return MERTFeatures(copied_to(self._network, device))

    @torch.no_grad()
    def features(self, wave: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        return self._network(wave[None].to(self._network.device)).last_hidden_state[0]
