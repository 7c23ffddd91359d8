"""What an adapter is: for each matrix that it changes, the product of two thin ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import ConfigError, InvalidRequest
from descant.model import MusicGenModel

Target: TypeAlias = Literal["attention", "mlp", "heads"]

MAX_RANK = 512
NUM_FUSED = 3
"""Query, key and value share a matrix and are adapted apart."""

_PLACES: Mapping[Target, tuple[str, ...]] = {
    "attention": (".self_attention.", ".cross_attention."),
    "mlp": (".mlp.",),
    "heads": (".heads.",),
}


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The shape of a new adapter.

    Args:
        rank: of the change of each linear map.
        alpha: changes are scaled by alpha / rank, so that the learning rate need not depend on the rank.
        dropout: the part of the inputs that a change does not see in training.
        targets: which linear maps of the language model are changed.
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.05
    targets: tuple[Target, ...] = ("attention", "mlp", "heads")

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MAX_RANK:
            raise ConfigError(f"rank={self.rank}: allowed are 1 to {MAX_RANK}")
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"alpha={self.alpha:g}: must be above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout:g}: must be at least 0 and below 1")
        if not self.targets:
            raise ConfigError(f"targets=(): give one or more of {', '.join(get_args(Target))}")

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied with."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class LowRank:
    """The change of one linear map, ``scale * up @ down``."""

    down: Float[Tensor, "r I"]
    up: Float[Tensor, "O r"]
    scale: float = 1.0

    def times(self, strength: float) -> "LowRank":
        """The change at another strength."""
        return LowRank(self.down, self.up, strength * self.scale)

    @property
    def scaled_up(self) -> Float[Tensor, "O r"]:
        """``scale * up``, in float32."""
        return self.up.float() * self.scale

    def dense(self) -> Float[Tensor, "O I"]:
        """The change itself, in float32."""
        return self.scaled_up @ self.down.float()


@dataclass(frozen=True, eq=False, repr=False)
class Adapter:
    """The changes of a model's matrices.

    Args:
        changes: by the name of a matrix in the model: one change, or one for each of query, key and value, from top to
            bottom; None where a map stays as it is.
        name: what records of music call it: the name of its folder.
        fingerprint: of its tensors, if it was read from a file.
    """

    changes: Mapping[str, tuple[LowRank | None, ...]]
    name: str = "adapter"
    fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"Adapter({self.name!r}, {len(self.changes)} matrices)"

    @property
    def num_parameters(self) -> int:
        """How many numbers it consists of."""
        parts = [part for parts in self.changes.values() for part in parts if part is not None]
        return sum(part.down.numel() + part.up.numel() for part in parts)


def num_maps(name: str) -> int:
    """How many linear maps a matrix of this name holds."""
    return NUM_FUSED if name.endswith(".qkv.weight") else 1


def adaptable(model: MusicGenModel) -> dict[str, tuple[int, int]]:
    """The matrices of a model that an adapter may change, by name, with their outputs and inputs: those of its language
    model, embeddings too, and of the projections of text and melody."""
    return {
        f"{name}.weight": shape_of_layer(module)
        for name, module in model.named_modules()
        if (name.startswith("lm.") or name in ("text.project", "melody.project")) and _has_matrix(module)
    }


def shape_of_layer(layer: nn.Module) -> tuple[int, int]:
    """The outputs and inputs of a layer; a table of embeddings has an output for each entry."""
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings, layer.embedding_dim
    return int(layer.out_features), int(layer.in_features)  # type: ignore[arg-type]


def _has_matrix(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Embedding) or hasattr(layer, "out_features")


def new_adapter(model: MusicGenModel, config: LoraConfig, generator: torch.Generator | None = None) -> Adapter:
    """An adapter that changes nothing yet: ``down`` is drawn as torch initialises linear layers, ``up`` is zero. Its
    tensors are float32, on the model's device."""
    places = tuple(place for target in config.targets for place in _PLACES[target])
    changes: dict[str, tuple[LowRank | None, ...]] = {}
    for name, (num_outputs, num_inputs) in adaptable(model).items():
        if any(place in name for place in places):
            count = num_maps(name)
            changes[name] = tuple(
                _new(num_inputs, num_outputs // count, config, generator, model.device) for _ in range(count)
            )
    return Adapter(changes)


def _new(
    num_inputs: int, num_outputs: int, config: LoraConfig, generator: torch.Generator | None, device: torch.device
) -> LowRank:
    bound = 1 / math.sqrt(num_inputs)
    down = torch.empty(config.rank, num_inputs).uniform_(-bound, bound, generator=generator).to(device)
    up = torch.zeros(num_outputs, config.rank, device=device)
    return LowRank(down, up, config.scale)


def stacked(adapters: Sequence[tuple[Adapter, float]]) -> Adapter:
    """One adapter that does what all of these do together, each at its strength: their changes are added.

    Raises:
        InvalidRequest: two adapters change matrices of different shapes.
    """
    changes: dict[str, tuple[LowRank | None, ...]] = {}
    for name in dict.fromkeys(name for adapter, _ in adapters for name in adapter.changes):
        maps = zip(
            *(
                [None if part is None else part.times(strength) for part in adapter.changes[name]]
                for adapter, strength in adapters
                if name in adapter.changes
            ),
            strict=True,
        )
        changes[name] = tuple(_added(name, [part for part in parts if part is not None]) for parts in maps)
    return Adapter(changes)


def _added(name: str, parts: Sequence[LowRank]) -> LowRank | None:
    if len(parts) <= 1:
        return parts[0] if parts else None
    if len({(part.down.shape[1], part.up.shape[0]) for part in parts}) > 1:
        raise InvalidRequest(f"adapters: they change {name} of models of different sizes")
    downs = torch.cat([part.down.float() for part in parts])
    return LowRank(downs, torch.cat([part.scaled_up for part in parts], dim=1))
