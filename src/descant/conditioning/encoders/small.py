"""The starter's own text encoder: a small BERT-shaped network distilled from a sentence model, under 10 MB on disk.

A folder holds ``config.json``, ``tokenizer.json`` and ``model.safetensors``. Matrices are stored in 8 bits, the token
embedding in 4, with a scale per row; they are read back as float32, so only storing rounds.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders.equal_lengths import EqualLengths
from descant.config import read_json, write_json
from descant.errors import CheckpointError, ConfigError, InvalidRequest
from descant.nn.finite import is_finite
from descant.nn.float64 import in_float64
from descant.nn.meta import on_meta_device
from descant.nn.quantize import quantize_rows

EMBEDDING, SCALE = "tokens.weight", ".scale"


@dataclass(frozen=True, kw_only=True)
class SmallTextConfig:
    """The shape of the network; the defaults are the starter's.

    Args:
        embedding_rank: width of the token embedding, projected up to ``width``; None for one of full width.
        max_tokens: longest text, its two special tokens included.
    """

    vocab_size: int
    width: int = 384
    num_layers: int = 3
    num_heads: int = 12
    mlp_width: int = 1_536
    embedding_rank: int | None = 256
    max_tokens: int = 256

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.width, self.num_layers, self.num_heads, self.mlp_width, self.max_tokens)
        if min(sizes) < 1 or (self.embedding_rank is not None and self.embedding_rank < 1):
            raise ConfigError(f"every size must be at least 1, got {self}")
        if (self.embedding_rank or self.width) % 2:
            raise ConfigError(
                f"the token embedding is {self.embedding_rank or self.width} wide: the width must be even to be stored"
            )
        if self.width % self.num_heads:
            raise ConfigError(f"width={self.width} must be a multiple of num_heads={self.num_heads}")


class PostNormBlock(nn.Module):
    """Attention and MLP, each followed by its layer norm (BERT's order, arXiv 1810.04805)."""

    def __init__(self, config: SmallTextConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.attention_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        q, k, v = rearrange(self.qkv(x), "B L (qkv H E) -> qkv B H L E", qkv=3, H=self.num_heads)
        heads = functional.scaled_dot_product_attention(q, k, v)
        x = self.attention_norm(x + self.out(rearrange(heads, "B H L E -> B L (H E)")))
        return self.mlp_norm(x + self.down(functional.gelu(self.up(x))))


class SmallTextNetwork(nn.Module):
    """Token ids to one vector each. All rows of a batch have the same length: there is no padding, so no mask."""

    def __init__(self, config: SmallTextConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.embedding_rank or config.width)
        self.widen = (
            nn.Linear(config.embedding_rank, config.width, bias=False) if config.embedding_rank else nn.Identity()
        )
        self.positions = nn.Embedding(config.max_tokens, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.blocks = nn.ModuleList(PostNormBlock(config) for _ in range(config.num_layers))

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        embedded = self.tokens(tokens).to(self.positions.weight.dtype)
        x = self.norm(self.widen(embedded) + self.positions.weight[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        return x


def sentence_vectors(states: Float[Tensor, "B L D"]) -> Float[Tensor, "B D"]:
    """One unit vector per text: the mean of its tokens' vectors, as sentence models pool them (arXiv 1908.10084)."""
    return functional.normalize(states.mean(dim=1), dim=-1)


class SmallTextEncoder(TextEncoder):
    """The text encoder that ships with the package; it needs no optional library.

    Args:
        tokenizer: gives a text's token ids, special tokens included; without truncation and padding.
    """

    def __init__(self, network: SmallTextNetwork, tokenizer: Tokenizer) -> None:
        if tokenizer.get_vocab_size() != network.config.vocab_size:
            raise ConfigError(
                f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the network {network.config.vocab_size}: "
                f"they belong to different encoders"
            )
        if tokenizer.truncation is not None or tokenizer.padding is not None:
            raise ConfigError(
                "the tokenizer truncates or pads; a text would be cut off without a warning. Switch both off"
            )
        self._network = network.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._exact_network = in_float64(self._network, keep={EMBEDDING})
        self._equal_lengths = EqualLengths(self._vectors)

    @property
    def dim(self) -> int:
        return self._network.config.width

    @property
    def device(self) -> torch.device:
        return self._network.positions.weight.device

    def to(self, device: torch.device | str) -> "SmallTextEncoder":
        if torch.device(device) == self.device:
            return self  # frozen, so it can be shared
        return SmallTextEncoder(copy.deepcopy(self._network).to(device), self._tokenizer)

    @property
    def max_tokens(self) -> int:
        return self._network.config.max_tokens

    def tokens(self, text: str) -> list[str | None]:
        encoding = self._tokenizer.encode(text)
        unknown = self._tokenizer.model.unk_token
        return [
            "" if is_special else None if token == unknown else token.removeprefix("##")
            for token, is_special in zip(encoding.tokens, encoding.special_tokens_mask, strict=True)
        ]

    @torch.no_grad()
    def states(self, text: str) -> Float[Tensor, "L D"]:
        return self._vectors(self._token_ids(text))[0]

    @torch.no_grad()
    def states_together(self, texts: Sequence[str]) -> list[Float[Tensor, "_ D"]]:
        return self._equal_lengths([self._token_ids(text)[0] for text in texts])

    def content(self) -> tuple[str, Mapping[str, Tensor]]:
        return json.dumps([asdict(self._network.config), self._tokenizer.to_str()]), self._network.state_dict()

    @torch.no_grad()
    def sentence(self, texts: list[str]) -> Float[Tensor, "B D"]:
        """One unit vector per text; the dot product of two is the similarity of their meanings, 1 at most.

        Raises:
            InvalidRequest: a text is too long.
        """
        return torch.cat([sentence_vectors(self._network(self._token_ids(text))) for text in texts])

    def _vectors(self, token_ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """The same on every CPU: models read them, and small differences grow to another music."""
        is_on_cpu = self.device.type == "cpu"
        return self._exact_network(token_ids).float() if is_on_cpu else self._network(token_ids)

    def _token_ids(self, text: str) -> Int[Tensor, "1 L"]:
        token_ids = self._tokenizer.encode(text).ids
        limit = self._network.config.max_tokens
        if len(token_ids) > limit:
            raise InvalidRequest(f"text has {len(token_ids)} tokens: this encoder reads up to {limit}; shorten it")
        return torch.tensor([token_ids], device=self.device)

    def save(self, folder: Path) -> None:
        """Writes the three files. Matrices are rounded, except those that were read from such a file."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(self._network.config, folder / "config.json")
        self._tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        save_file(pack(self._network.state_dict()), folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "SmallTextEncoder":
        """The encoder stored in a folder.

        Raises:
            CheckpointError: a file is missing, broken, or does not fit the config.
            ConfigError: ``config.json`` has an unknown or missing key, or contradicts the tokenizer.
        """
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise CheckpointError(
                    f"{folder}: no {name}; a text encoder's folder has config.json, tokenizer.json, model.safetensors"
                )
        config = read_json(SmallTextConfig, folder / "config.json")
        with on_meta_device():
            network = SmallTextNetwork(config)
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises a bare Exception
            raise CheckpointError(f"{folder / 'tokenizer.json'}: not a tokenizer ({error})") from error
        try:
            network.load_state_dict(unpack(load_file(folder / "model.safetensors")), assign=True)
        except (SafetensorError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"{folder / 'model.safetensors'}: does not fit config.json ({error})") from error
        broken = [name for name, weight in network.state_dict().items() if not is_finite(weight)]
        if broken:
            raise CheckpointError(f"{folder / 'model.safetensors'}: {broken[0]} has numbers that are not finite")
        return cls(network, tokenizer)


def pack(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as integers with a scale per row, vectors as they are; packing what ``unpack`` gave changes no bit.

    The token embedding has 4 bits per weight, two weights in a byte; every other matrix has 8. It is more than half
    of all weights; at equal size, twice the width at half the bits keeps more of the teacher's variance (89 %, not 66).
    """
    packed = {}
    for name, weight in weights.items():
        weight = weight.cpu().contiguous()
        if weight.ndim == 1:
            packed[name] = weight
        elif name == EMBEDDING:
            integers, packed[name + SCALE] = quantize_rows(weight, largest=7)
            low, high = rearrange(integers + 8, "rows (columns two) -> two rows columns", two=2).to(torch.uint8)
            packed[name] = low + 16 * high
        else:
            packed[name], packed[name + SCALE] = quantize_rows(weight, largest=127)
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 weights from what ``pack`` gave."""
    weights = {}
    for name, stored in packed.items():
        if name.endswith(SCALE):
            continue
        integers = stored
        if name == EMBEDDING:
            # Written into place: it takes a fifth of the time of joining the halves.
            integers = torch.empty(*stored.shape, 2)
            integers[..., 0], integers[..., 1] = stored & 15, stored >> 4
            integers = integers.flatten(1).sub_(8)
        weights[name] = stored if stored.ndim == 1 else integers.float() * packed[name + SCALE][:, None]
    return weights
