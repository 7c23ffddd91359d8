"""Where each condition enters the language model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from descant.conditioning.base import Embedding
from descant.errors import ConfigError, InvalidRequest
from descant.nn.inputs import LMInputs

Method: TypeAlias = Literal["cross", "prefix", "sum", "output"]


@dataclass(frozen=True, kw_only=True)
class FuserConfig:
    """How each condition is told: attended to (cross), put before the codes (prefix), added to the steps (sum) or to
    what the heads read (output; of length 1).

    The defaults are MusicGen's, which has no conditions of whole sentences and of facts; its melody and style models,
    which have no cross-attention, take text as a prefix too.
    """

    melody: Method = "prefix"
    style: Method = "prefix"
    clap: Method = "cross"
    text: Method = "cross"
    sentence: Method = "sum"
    sentence_output: Method = "output"
    facts: Method = "sum"


# A prefix is read melody first, text last, and then the codes: the order the released melody model was trained on
# (audiocraft, ConditionFuser, which puts each next condition in front of the ones before).
ORDER = ("melody", "style", "clap", "text", "sentence", "sentence_output", "facts")


def fuse(embeddings: Mapping[str, Embedding], config: FuserConfig) -> LMInputs:
    """The conditions as the language model takes them.

    Conditions of one method are joined: cross and prefix end to end, sums added. A prefix and a sum have no mask: what
    a row does not fill are zero vectors, as the released models know them.

    Raises:
        ConfigError: a condition has no place in the config.
        InvalidRequest: two conditions to be added differ in length, and neither has length 1.
    """
    unknown = sorted(set(embeddings) - set(ORDER))
    if unknown:
        raise ConfigError(f"condition {unknown[0]!r} has no place in the language model; there are {', '.join(ORDER)}")
    by_method: dict[str, list[Embedding]] = {"cross": [], "prefix": [], "sum": [], "output": []}
    for name in ORDER:
        if name in embeddings:
            by_method[getattr(config, name)].append(embeddings[name])
    return LMInputs(
        cross=_joined([embedding.values for embedding in by_method["cross"]]),
        cross_mask=_joined([embedding.mask for embedding in by_method["cross"]]),
        prefix=_joined([embedding.values for embedding in by_method["prefix"]]),
        sum=_added([embedding.values for embedding in by_method["sum"]]),
        output=_added([embedding.values for embedding in by_method["output"]]),
    )


def _joined(parts: list[Tensor]) -> Tensor | None:
    return torch.cat(parts, dim=1) if parts else None


def _added(parts: list[Tensor]) -> Tensor | None:
    if not parts:
        return None
    lengths = {part.shape[1] for part in parts} - {1}
    if len(lengths) > 1:
        raise InvalidRequest(
            f"conditions of {sorted(lengths)} steps cannot be added: make them equally long, or of length 1"
        )
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
