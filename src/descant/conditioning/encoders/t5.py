"""T5 and FLAN-T5 as text encoders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders.equal_lengths import EqualLengths
from descant.conditioning.encoders.frozen import (
    check_descriptions,
    errors_of_reading,
    first_line,
    import_transformers,
    load_network,
)
from descant.conditioning.encoders.t5_network import EMBEDDING, FINAL_NORM, T5Config, T5Network
from descant.conditioning.encoders.weights import HeldWeights, Weights
from descant.errors import CheckpointError, InvalidRequest
from descant.nn.meta import on_meta_device

MAX_TOKENS = 512
"""The longest text T5 was trained on (arXiv 1910.10683, section 3.1.4)."""

WORD_START = "\u2581"
"""How sentencepiece writes a space."""

TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
TIED_EMBEDDING = "encoder.embed_tokens.weight"
"""Another name of T5's token embedding."""

CONFIG_KEYS = (
    *("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets"),
    *("relative_attention_max_distance", "dropout_rate", "layer_norm_epsilon", "feed_forward_proj"),
    # Parts of feed_forward_proj, which count where a config says otherwise there.
    *("dense_act_fn", "is_gated_act"),
    *("pad_token_id", "eos_token_id", "decoder_start_token_id"),
)
"""What is taken from a stored config of T5, and nothing else: a config can also name code for transformers to run."""


class T5Encoder(TextEncoder):
    """The encoder half of a T5 or FLAN-T5 of any size, frozen. It calculates in float32.

    Float16 overflows in T5's feed-forward layers; bfloat16 would change the vectors that released models are
    conditioned on.

    Args:
        config: transformers' T5Config.
        weights: by transformers' names.
        tokenizer: the tokenizer that belongs to it.
        name: what messages call it.
        is_part_of_model: whether the weights came with a model and are stored with it, not found by name.
    """

    def __init__(
        self, config: Any, weights: Weights, tokenizer: Any, *, name: str, is_part_of_model: bool = False
    ) -> None:
        self.name, self.is_part_of_model = name, is_part_of_model
        self._config, self._tokenizer = config, tokenizer
        self._network = T5Network(T5Config.of(config.to_dict()), weights)
        self._equal_lengths = EqualLengths(self._network)
        self._device = weights[FINAL_NORM].device

    @classmethod
    def load(cls, name_or_path: str, revision: str | None = None, *, is_part_of_model: bool = False) -> "T5Encoder":
        """The encoder in a folder, or the one with an id on the model hub such as ``google/flan-t5-xl``.

        Args:
            revision: a commit or branch of the hub.

        Raises:
            MissingExtra: transformers is not installed.
            CheckpointError: there is no such model, it is not a T5, or a weight of its encoder is missing.
        """
        transformers = import_transformers("T5")
        check_descriptions(Path(name_or_path))
        with errors_of_reading("T5", name_or_path):
            config = transformers.AutoConfig.from_pretrained(name_or_path, revision=revision, trust_remote_code=False)
            if config.model_type != "t5":
                raise CheckpointError(f"{name_or_path}: a {config.model_type} model; T5 and FLAN-T5 are allowed here")
            config = _config_of(config.to_dict())
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                name_or_path, revision=revision, trust_remote_code=False
            )
            network = load_network(
                transformers.T5EncoderModel, name_or_path, config, name=name_or_path, revision=revision
            )
            weights = HeldWeights(_untied(network.state_dict()))
            return cls(network.config, weights, tokenizer, name=name_or_path, is_part_of_model=is_part_of_model)

    @classmethod
    def from_weights(cls, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Path) -> "T5Encoder":
        """The encoder that is stored with a model; it takes the tensors themselves, not copies.

        Args:
            config: of T5, as transformers stores it.
            weights: of transformers' T5EncoderModel, by its names. `Weights` may be on disk.
            tokenizer: the folder where the tokenizer's files are.

        Raises:
            MissingExtra: transformers is not installed.
            CheckpointError: a weight is missing, unknown or of another shape, or there is no tokenizer.
        """
        import_transformers("T5")
        try:
            known = _config_of(config)
            expected = T5Config.of(known.to_dict()).shapes()
        except Exception as error:  # transformers' checks raise many kinds, and a config in a file may hold anything
            raise CheckpointError(f"text_encoder: no T5 can be made of its config ({first_line(error)})") from error
        given = weights if isinstance(weights, Weights) else HeldWeights(_untied(weights))
        _check_shapes(given, expected)
        return cls(known, given, _tokenizer_in(tokenizer, known.vocab_size), name=str(tokenizer), is_part_of_model=True)

    @property
    def config(self) -> dict[str, Any]:
        """The network's config as transformers stores it."""
        return self._config.to_dict()

    @property
    def weights(self) -> Weights:
        """The network's tensors by transformers' names; the token embedding, which has two, by the first."""
        return self._network.weights

    def save(self, folder: Path) -> None:
        """Writes network and tokenizer as transformers stores them."""
        # Without memory: the tensors are then assigned.
        with on_meta_device():
            network = import_transformers("T5").T5EncoderModel(self._config)
        network.load_state_dict({name: tensor.float() for name, tensor in self.weights.items()}, False, True)
        network.encoder.embed_tokens = network.shared
        network.save_pretrained(folder)
        self.save_tokenizer(folder)

    def save_tokenizer(self, folder: Path) -> None:
        """Writes the tokenizer's files into a folder."""
        self._tokenizer.save_pretrained(folder)

    @property
    def dim(self) -> int:
        return self._network.config.d_model

    @property
    def device(self) -> torch.device:
        return self._device

    def to(self, device: torch.device | str) -> "T5Encoder":
        if torch.device(device) == self._device:
            return self
        weights = HeldWeights({name: tensor.to(device) for name, tensor in self.weights.items()})
        return T5Encoder(self._config, weights, self._tokenizer, name=self.name, is_part_of_model=self.is_part_of_model)

    @property
    def max_tokens(self) -> int:
        return MAX_TOKENS

    def tokens(self, text: str) -> list[str | None]:
        token_ids = self._tokenizer(text).input_ids
        special, unknown = set(self._tokenizer.all_special_ids), self._tokenizer.unk_token_id
        letters = [token.replace(WORD_START, "") for token in self._tokenizer.convert_ids_to_tokens(token_ids)]
        return [
            None if token_id == unknown else "" if token_id in special else token
            for token_id, token in zip(token_ids, letters, strict=True)
        ]

    @torch.no_grad()
    def states(self, text: str) -> Float[Tensor, "L D"]:
        return self._network(self._token_ids(text)[None])[0]

    @torch.no_grad()
    def states_together(self, texts: Sequence[str]) -> list[Float[Tensor, "_ D"]]:
        return self._equal_lengths([self._token_ids(text) for text in texts])

    def content(self) -> tuple[str, Mapping[str, Tensor]]:
        return json.dumps([self.config, self._tokenizer.get_vocab()], sort_keys=True, default=str), self.weights

    def _token_ids(self, text: str) -> Int[Tensor, " L"]:
        token_ids = self._tokenizer(text, return_tensors="pt").input_ids
        if token_ids.shape[1] > MAX_TOKENS:
            raise InvalidRequest(
                f"text has {token_ids.shape[1]} tokens: {self.name} reads up to {MAX_TOKENS}; shorten it"
            )
        return token_ids[0].to(self.device)


def _untied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the token embedding under the first of its names only."""
    untied = {
        EMBEDDING if name == TIED_EMBEDDING and EMBEDDING not in tensors else name: tensor
        for name, tensor in tensors.items()
    }
    untied.pop(TIED_EMBEDDING, None)
    return untied


def _check_shapes(given: Weights, expected: Mapping[str, tuple[int, ...]]) -> None:
    for problem, odd in (("unknown", set(given) - set(expected)), ("missing", set(expected) - set(given))):
        if odd:
            raise CheckpointError(f"text_encoder: {len(odd)} {problem} tensors, first {sorted(odd)[0]}")
    for name, shape in expected.items():
        if given.shape(name) != shape:
            raise CheckpointError(f"text_encoder: {name} is {given.shape(name)}, its config makes it {shape}")


def _config_of(stored: Mapping[str, Any]) -> Any:
    """transformers' T5Config with what is taken from a stored one."""
    return import_transformers("T5").T5Config(**{name: stored[name] for name in CONFIG_KEYS if name in stored})


def _tokenizer_in(folder: Path, vocab_size: int) -> Any:
    check_descriptions(folder)
    # Where these are missing, transformers makes an empty tokenizer, which knows no word.
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(f"{folder}: no tokenizer is there; it has {' or '.join(TOKENIZER_FILES)}")
    try:
        tokenizer = import_transformers("T5").AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # what its many readers raise where a file is missing or broken
        raise CheckpointError(f"{folder}: no tokenizer could be read from there ({first_line(error)})") from error
    if len(tokenizer) > vocab_size:
        raise CheckpointError(f"{folder}: the tokenizer has {len(tokenizer)} tokens, the text encoder {vocab_size}")
    return tokenizer
