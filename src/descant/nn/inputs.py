"""The conditions of a language model, as plain tensors."""

from dataclasses import dataclass, fields, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descant.errors import InvalidRequest


@dataclass(frozen=True)
class Context:
    """The cross condition as cross-attention reads it, made by ``LMInputs.context``.

    Args:
        values: zero at masked positions.
        mask: True where a query may attend. Every row has a True: a row without a condition attends to its zeros.
    """

    values: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B 1 1 L"]


@dataclass(frozen=True)
class LMInputs:
    """Conditions of B rows: to be attended to, put before the sequence, or added to it.

    Args:
        cross: for cross-attention; values where ``cross_mask`` is False are never read.
        cross_mask: True where ``cross`` is valid; None for everywhere. A row without any True is the null condition.
        prefix: positions put before the codes.
        sum: added to the embedded steps, from step 0 on; a length of 1 is added to every step.
        output: added to the last hidden states, before the heads, at every step.
    """

    cross: Float[Tensor, "B L D"] | None = None
    cross_mask: Bool[Tensor, "B L"] | None = None
    prefix: Float[Tensor, "B P D"] | None = None
    sum: Float[Tensor, "B S D"] | None = None
    output: Float[Tensor, "B 1 D"] | None = None

    def __post_init__(self) -> None:
        if self.cross_mask is not None and self.cross is None:
            raise InvalidRequest("cross_mask came without cross: give the values that it masks")

    @property
    def prefix_steps(self) -> int:
        """The number of positions that the prefix takes."""
        return 0 if self.prefix is None else self.prefix.shape[1]

    def context(self) -> Context | None:
        """The cross condition, safe to attend to; None without one.

        Padding is masked, as transformers does and audiocraft does not: unmasked, its zero vectors take attention away
        from the words, and a prompt's music would change with the longest prompt of its batch. A row with nothing to
        attend to is the null condition: it attends to zeros only, and as keys and values have no bias its output is
        exactly zero, never a softmax over an empty set (transformers #31189).
        """
        if self.cross is None:
            return None
        mask = _mask_of(self.cross, self.cross_mask)
        is_null = ~mask.any(dim=1, keepdim=True)
        return Context(
            values=self.cross.masked_fill(~mask[:, :, None], 0.0),
            mask=rearrange(mask | is_null, "B L -> B 1 1 L"),
        )

    def rows(self, index: Int[Tensor, " rows"]) -> "LMInputs":
        """These rows only, in this order."""
        present = {field.name: getattr(self, field.name) for field in fields(self)}
        return LMInputs(**{name: None if tensor is None else tensor[index] for name, tensor in present.items()})

    def has_equal_rows(self, first: int, second: int) -> bool:
        """Whether two rows have the same conditions."""
        present = [tensor for tensor in (getattr(self, field.name) for field in fields(self)) if tensor is not None]
        return all(torch.equal(tensor[first], tensor[second]) for tensor in present)

    def to(self, device: torch.device, dtype: torch.dtype) -> "LMInputs":
        """The same conditions on a device and in a precision; masks stay boolean."""
        return replace(
            self,
            cross=None if self.cross is None else self.cross.to(device, dtype),
            cross_mask=None if self.cross_mask is None else self.cross_mask.to(device),
            prefix=None if self.prefix is None else self.prefix.to(device, dtype),
            sum=None if self.sum is None else self.sum.to(device, dtype),
            output=None if self.output is None else self.output.to(device, dtype),
        )


def _mask_of(cross: Tensor, mask: Tensor | None) -> Tensor:
    return cross.new_ones(cross.shape[:2], dtype=torch.bool) if mask is None else mask
