"""T5 and FLAN-T5 as text encoders, MERT as a listener for styles.

The only file of the package that imports transformers for conditioning.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from descant.conditioning.base import TextEncoder
from descant.conditioning.style import StyleFeatures
from descant.errors import CheckpointError, InvalidRequest, MissingExtra

MAX_TOKENS = 512
"""The longest text T5 was trained on (arXiv 1910.10683, section 3.1.4)."""

MERT_RATE_HZ = 24_000


class T5Encoder(TextEncoder):
    """The encoder half of a T5 or FLAN-T5 of any size, frozen, in float32.

    Float16 overflows in T5's feed-forward layers; bfloat16 would change what released models are told.

    Args:
        name_or_path: a folder, or an id of the model hub such as ``t5-base`` or ``google/flan-t5-xl``.
        revision: a commit or branch of the hub.

    Raises:
        MissingExtra: transformers is not installed.
        CheckpointError: there is no such model, it is not a T5, or a weight of its encoder is missing.
    """

    def __init__(self, name_or_path: str, revision: str | None = None) -> None:
        self._name = name_or_path
        self._tokenizer, self._network = _load(name_or_path, revision)

    @property
    def dim(self) -> int:
        return self._network.config.d_model

    @property
    def device(self) -> torch.device:
        return self._network.device

    def to(self, device: torch.device | str) -> "T5Encoder":
        moved = object.__new__(T5Encoder)
        moved._name, moved._tokenizer = self._name, self._tokenizer
        moved._network = type(self._network)(self._network.config).to(device)
        moved._network.load_state_dict(self._network.state_dict())
        moved._network.eval().requires_grad_(False)
        return moved

    @torch.no_grad()
    def states(self, text: str) -> Float[Tensor, "L D"]:
        tokens = self._tokenizer(text, return_tensors="pt").input_ids
        if tokens.shape[1] > MAX_TOKENS:
            raise InvalidRequest(
                f"text has {tokens.shape[1]} tokens: {self._name} reads up to {MAX_TOKENS}; shorten it"
            )
        return self._network(input_ids=tokens.to(self.device)).last_hidden_state[0]


def _load(name_or_path: str, revision: str | None) -> tuple[Any, Any]:
    """Tokenizer and encoder network."""
    try:
        from transformers import AutoConfig, AutoTokenizer, T5EncoderModel
    except ImportError as error:
        raise MissingExtra('T5 needs transformers: pip install "descant[t5]"') from error
    try:
        config = AutoConfig.from_pretrained(name_or_path, revision=revision)
        if config.model_type != "t5":
            raise CheckpointError(f"{name_or_path}: a {config.model_type} model; T5 and FLAN-T5 are allowed here")
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision)
        # Typed as Any: the library's annotations know neither the report nor a missing revision.
        network_class: Any = T5EncoderModel
        network, report = network_class.from_pretrained(
            name_or_path, config=config, revision=revision, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name_or_path}: no T5 could be read from there ({error})") from error
    # transformers fills what a file lacks with random numbers and a warning.
    if report["missing_keys"]:
        raise CheckpointError(f"{name_or_path}: weights are missing, first {sorted(report['missing_keys'])[:3]}")
    # A checkpoint may be stored in half precision; newer transformers would keep it so.
    return tokenizer, network.float().eval().requires_grad_(False)


class MERTFeatures(StyleFeatures):
    """The last layer of MERT (arXiv 2306.00107), frozen, in float32: 75 vectors a second of sound at 24 kHz.

    MERT v1 is a HuBERT with other weights, so transformers reads it as one and no code of the hub is run.

    Args:
        name_or_path: a folder, or an id of the model hub such as ``m-a-p/MERT-v1-95M``.
        revision: a commit or branch of the hub.

    Raises:
        MissingExtra: transformers is not installed.
        CheckpointError: there is no such model, it is not a HuBERT, or a weight is missing.
    """

    def __init__(self, name_or_path: str, revision: str | None = None) -> None:
        self._network = _load_mert(name_or_path, revision)

    @property
    def dim(self) -> int:
        return self._network.config.hidden_size

    @property
    def sample_rate_hz(self) -> int:
        return MERT_RATE_HZ

    def to(self, device: torch.device | str) -> "MERTFeatures":
        moved = object.__new__(MERTFeatures)
        moved._network = type(self._network)(self._network.config).to(device)
        moved._network.load_state_dict(self._network.state_dict())
        moved._network.eval().requires_grad_(False)
        return moved

    @torch.no_grad()
    def features(self, wave: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        return self._network(wave[None].to(self._network.device)).last_hidden_state[0]


def _load_mert(name_or_path: str, revision: str | None) -> Any:
    try:
        from transformers import HubertConfig, HubertModel
    except ImportError as error:
        raise MissingExtra('MERT needs transformers: pip install "descant[t5]"') from error
    try:
        # Typed as Any: the library's annotations know neither the report nor a missing revision.
        config_class: Any = HubertConfig
        config = config_class.from_pretrained(name_or_path, revision=revision)
        # What makes a MERT more than a HuBERT; the released style model's has none of it.
        for name, plain in {"feature_extractor_cqt": False, "deepnorm": False, "attention_relax": -1.0}.items():
            if getattr(config, name, plain) != plain:
                raise CheckpointError(f"{name_or_path}: {name}={getattr(config, name)}, only {plain} can be read here")
        network_class: Any = HubertModel
        network, report = network_class.from_pretrained(
            name_or_path, config=config, revision=revision, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name_or_path}: no MERT could be read from there ({error})") from error
    # It stands for masked frames in training; nothing is masked here.
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise CheckpointError(f"{name_or_path}: weights are missing, first {missing[:3]}")
    return network.float().eval().requires_grad_(False)
