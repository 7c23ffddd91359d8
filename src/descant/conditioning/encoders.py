"""T5 and FLAN-T5 as text encoders. The only file of the package that imports transformers for conditioning."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from descant.conditioning.base import TextEncoder
from descant.errors import CheckpointError, InvalidRequest, MissingExtra

MAX_TOKENS = 512
"""The longest text T5 was trained on (arXiv 1910.10683, section 3.1.4)."""


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
