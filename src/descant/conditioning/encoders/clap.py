"""CLAP: text and audio in one embedding space, by two frozen networks (arXiv 2211.06687)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.conditioning.encoders.frozen import (
    check_descriptions,
    copied_to,
    errors_of_reading,
    import_transformers,
    load_network,
)
from descant.errors import CheckpointError, InvalidRequest


class ClapEncoder(JointEncoder):
    """CLAP as transformers implements it, frozen, in float32.

    Args:
        network: transformers' ClapModel.
        tokenizer: of its text half.
        feature_extractor: transformers' ClapFeatureExtractor, of its audio half.
    """

    def __init__(self, config: ClapConfig, network: Any, tokenizer: Any, feature_extractor: Any) -> None:
        super().__init__(config)
        self._network, self._tokenizer, self._feature_extractor = network, tokenizer, feature_extractor

    @classmethod
    def load(cls, config: ClapConfig, place: str | None = None, revision: str | None = None) -> "ClapEncoder":
        """The encoder that a config names.

        Args:
            place: the folder or hub id to read, if it is not ``config.name``.
            revision: a commit or branch of the hub.

        Raises:
            MissingExtra: transformers is not installed.
            CheckpointError: there is no such model, it is not a CLAP, a weight is missing, or it is not what the config
                says.
        """
        transformers = import_transformers("CLAP")
        place = place or config.name
        check_descriptions(Path(place))
        with errors_of_reading("CLAP", config.name):
            stored = transformers.AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
            if stored.model_type != "clap":
                raise CheckpointError(f"{config.name}: a {stored.model_type} model; CLAP is allowed here")
            feature_extractor = transformers.ClapFeatureExtractor.from_pretrained(place, revision=revision)
            _check(config, stored, feature_extractor)
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
            network = load_network(transformers.ClapModel, place, stored, name=config.name, revision=revision)
        return cls(config, network, tokenizer, feature_extractor)

    def to(self, device: torch.device | str) -> "ClapEncoder":
        network = copied_to(self._network, device)
        if network is self._network:
            return self
        return ClapEncoder(self.config, network, self._tokenizer, self._feature_extractor)

    @property
    def max_tokens(self) -> int:
        shape = self._network.config.text_config
        # RoBERTa's positions start after its padding token's number.
        return shape.max_position_embeddings - shape.pad_token_id - 1

    def num_tokens(self, text: str) -> int:
        return len(self._tokenizer(text).input_ids)

    @torch.no_grad()
    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        token_ids = self._tokenizer(text, return_tensors="pt").input_ids
        if token_ids.shape[1] > self.max_tokens:
            raise InvalidRequest(
                f"text has {token_ids.shape[1]} tokens: {self.config.name} reads up to {self.max_tokens}; shorten it"
            )
        pooled = self._network.text_model(input_ids=token_ids.to(self._network.device)).pooler_output
        return F.normalize(self._network.text_projection(pooled)[0], dim=0).float().cpu()

    @torch.no_grad()
    def embed_window(self, wave: Float[Tensor, " N"]) -> Float[Tensor, " D"]:
        # A wave is never longer than a window here: the extractor would cut it at a random place.
        extracted = self._feature_extractor(
            wave.numpy(),
            sampling_rate=self.config.sample_rate_hz,
            truncation="rand_trunc",
            padding="repeatpad",
            return_tensors="pt",
        )
        features = extracted["input_features"].float().to(self._network.device)
        pooled = self._network.audio_model(input_features=features).pooler_output
        return F.normalize(self._network.audio_projection(pooled)[0], dim=0).float().cpu()


def _check(config: ClapConfig, stored: Any, feature_extractor: Any) -> None:
    found: Mapping[str, object] = {
        "dim": stored.projection_dim,
        "sample_rate_hz": feature_extractor.sampling_rate,
        "window_s": float(feature_extractor.max_length_s),
    }
    for name, value in found.items():
        if value != getattr(config, name):
            raise CheckpointError(f"{config.name}: its {name} is {value}, the model was made for {config}")
    if stored.audio_config.enable_fusion:
        raise CheckpointError(
            f"{config.name}: it takes crops at random places of long audio; use a CLAP without fusion"
        )
