"""T5 and FLAN-T5 as text encoders, MERT as a listener for styles.

Besides ``clap.py`` the only file of the package that imports transformers for conditioning.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from descant.conditioning.base import TextEncoder
from descant.conditioning.style import StyleFeatures
from descant.errors import CheckpointError, InvalidRequest, MissingExtra

MAX_TOKENS = 512
"""The longest text T5 was trained on (arXiv 1910.10683, section 3.1.4)."""
WORD_START = "\u2581"
"""How sentencepiece writes a space."""
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
LONGEST_DESCRIPTION = 2**24
"""The tokenizer of T5 has 2 MB; its library takes gigabytes for one of a hundred."""
TABLE, TABLE_AGAIN = "shared.weight", "encoder.embed_tokens.weight"

MERT_RATE_HZ = 24_000


T5_SHAPE = (
    *("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets"),
    *("relative_attention_max_distance", "dropout_rate", "layer_norm_epsilon", "feed_forward_proj"),
    # Parts of feed_forward_proj, which count where a config says otherwise there.
    *("dense_act_fn", "is_gated_act"),
    *("pad_token_id", "eos_token_id", "decoder_start_token_id"),
)
"""What is taken from a stored config of T5, and nothing else: a config can also name code for transformers to run."""


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

    is_part_of_model: bool = False
    """Whether these weights came with a model and are stored with it, not found by name."""

    def __init__(self, name_or_path: str, revision: str | None = None) -> None:
        self._name = name_or_path
        self._tokenizer, self._network = _load(name_or_path, revision)

    @classmethod
    def load(cls, folder: Path) -> "T5Encoder":
        """The encoder that ``save`` put into a model's folder.

        Raises:
            MissingExtra, CheckpointError: as for any folder.
        """
        encoder = cls(str(folder))
        encoder.is_part_of_model = True
        return encoder

    @classmethod
    def from_weights(cls, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Path) -> "T5Encoder":
        """The encoder that a model brings along; it takes the tensors themselves, not copies.

        Args:
            config: of T5, as transformers stores it.
            weights: of transformers' T5EncoderModel, by its names.
            tokenizer: the folder where the tokenizer's files are.

        Raises:
            MissingExtra: transformers is not installed.
            CheckpointError: a weight is missing, unknown or of another shape, or there is no tokenizer.
        """
        encoder = object.__new__(cls)
        encoder._name = str(tokenizer)
        encoder._network = _network_of(config, weights)
        encoder._tokenizer = _tokenizer_in(tokenizer, encoder._network.config.vocab_size)
        encoder.is_part_of_model = True
        return encoder

    @property
    def config(self) -> dict[str, Any]:
        """The network's config as transformers stores it."""
        return self._network.config.to_dict()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by transformers' names; the token table, which has two, by the first."""
        return {name: tensor for name, tensor in self._network.state_dict().items() if name != TABLE_AGAIN}

    def save(self, folder: Path) -> None:
        """Writes network and tokenizer as transformers stores them."""
        self._network.save_pretrained(folder)
        self.save_tokenizer(folder)

    def save_tokenizer(self, folder: Path) -> None:
        """Writes the tokenizer's files into a folder."""
        self._tokenizer.save_pretrained(folder)

    @property
    def dim(self) -> int:
        return self._network.config.d_model

    @property
    def device(self) -> torch.device:
        return self._network.device

    def to(self, device: torch.device | str) -> "T5Encoder":
        if torch.device(device) == self.device:  # frozen, so nobody can tell it from a copy
            return self
        moved = object.__new__(T5Encoder)
        moved._name, moved._tokenizer, moved.is_part_of_model = self._name, self._tokenizer, self.is_part_of_model
        moved._network = type(self._network)(self._network.config).to(device)
        moved._network.load_state_dict(self._network.state_dict())
        moved._network.eval().requires_grad_(False)
        return moved

    @property
    def max_tokens(self) -> int:
        return MAX_TOKENS

    def tokens(self, text: str) -> list[str | None]:
        numbers = self._tokenizer(text).input_ids
        frame, unknown = set(self._tokenizer.all_special_ids), self._tokenizer.unk_token_id
        letters = [token.replace(WORD_START, "") for token in self._tokenizer.convert_ids_to_tokens(numbers)]
        return [
            None if number == unknown else "" if number in frame else token
            for number, token in zip(numbers, letters, strict=True)
        ]

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
    check_descriptions(Path(name_or_path))
    try:
        config = AutoConfig.from_pretrained(name_or_path, revision=revision, trust_remote_code=False)
        if config.model_type != "t5":
            raise CheckpointError(f"{name_or_path}: a {config.model_type} model; T5 and FLAN-T5 are allowed here")
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision, trust_remote_code=False)
        # Typed as Any: the library's annotations know neither the report nor a missing revision.
        network_class: Any = T5EncoderModel
        network, report = network_class.from_pretrained(
            name_or_path, config=config, revision=revision, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name_or_path}: no T5 could be read from there ({_first_line(error)})") from error
    # transformers fills what a file lacks with random numbers and a warning.
    if report["missing_keys"]:
        raise CheckpointError(f"{name_or_path}: weights are missing, first {sorted(report['missing_keys'])[:3]}")
    # A checkpoint may be stored in half precision; newer transformers would keep it so.
    return tokenizer, network.float().eval().requires_grad_(False)


def _network_of(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Any:
    """The frozen encoder network around these very tensors, in float32."""
    try:
        from transformers import T5Config, T5EncoderModel
    except ImportError as error:
        raise MissingExtra('T5 needs transformers: pip install "descant[t5]"') from error
    try:
        # First without memory, so that a config of absurd sizes costs nothing.
        with torch.device("meta"):
            network: Any = T5EncoderModel(T5Config(**{name: config[name] for name in T5_SHAPE if name in config}))
    except Exception as error:  # its checks raise many kinds, and a config in a file may hold anything
        # The one table that a config's words are looked up in.
        reason = f"dense_act_fn={error}: no such activation" if isinstance(error, KeyError) else _first_line(error)
        raise CheckpointError(f"text_encoder: no T5 can be made of its config ({reason})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name != TABLE_AGAIN}
    given = {TABLE if name == TABLE_AGAIN and TABLE not in weights else name: weights[name] for name in weights}
    given.pop(TABLE_AGAIN, None)
    for problem, odd in (("unknown", set(given) - set(expected)), ("missing", set(expected) - set(given))):
        if odd:
            raise CheckpointError(f"text_encoder: {len(odd)} {problem} tensors, first {sorted(odd)[0]}")
    for name, shape in expected.items():
        if tuple(given[name].shape) != shape:
            raise CheckpointError(f"text_encoder: {name} is {tuple(given[name].shape)}, its config makes it {shape}")
    network.load_state_dict({name: given[name].float() for name in expected}, strict=False, assign=True)
    network.encoder.embed_tokens = network.shared
    return network.eval().requires_grad_(False)


def _tokenizer_in(folder: Path, vocab_size: int) -> Any:
    from transformers import AutoTokenizer

    check_descriptions(folder)
    # Where these are missing, transformers makes an empty tokenizer, which knows no word.
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(f"{folder}: no tokenizer, which is {' or '.join(TOKENIZER_FILES)}, is there")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what its many readers raise where a file is missing or broken
        raise CheckpointError(f"{folder}: no tokenizer could be read from there ({_first_line(error)})") from error
    if len(tokenizer) > vocab_size:
        raise CheckpointError(f"{folder}: the tokenizer has {len(tokenizer)} tokens, the text encoder {vocab_size}")
    return tokenizer


def check_descriptions(folder: Path) -> None:
    """Makes sure that no config and no tokenizer in a folder is longer than can be.

    Raises:
        CheckpointError: one is.
    """
    for pattern in ("*.json", "*.model", "*.txt"):
        for file in folder.glob(pattern):
            size = file.stat().st_size if file.is_file() else 0
            if size > LONGEST_DESCRIPTION:
                raise CheckpointError(f"{file}: has {size} bytes; at most {LONGEST_DESCRIPTION} are read")


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
    check_descriptions(Path(name_or_path))
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


def _first_line(error: Exception) -> str:
    return f"{str(error).strip().splitlines()[0]:.200}" if str(error).strip() else type(error).__name__
