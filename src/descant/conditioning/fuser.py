"""Embedded conditions joined into the inputs of the language model."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from descant.conditioning.base import Embedding, Fusion
from descant.errors import InvalidRequest
from descant.nn.inputs import LMInputs


def fuse(conditions: Sequence[Mapping[Fusion, Embedding]]) -> LMInputs:
    """The inputs of the language model, from what the conditioners gave, in their order.

    Cross and prefix conditions are joined end to end, sums and outputs added. Prefixes and sums have no mask: padding
    and null rows are zero vectors, as in the released models.

    Raises:
        InvalidRequest: two conditions to be added differ in length, and neither has length 1.
    """

    def of(fusion: Fusion) -> list[Embedding]:
        return [condition[fusion] for condition in conditions if fusion in condition]

    return LMInputs(
        cross=_joined([embedding.values for embedding in of("cross")]),
        cross_mask=_joined([embedding.mask for embedding in of("cross")]),
        prefix=_joined([embedding.values for embedding in of("prefix")]),
        sum=_added([embedding.values for embedding in of("sum")]),
        output=_added([embedding.values for embedding in of("output")]),
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
