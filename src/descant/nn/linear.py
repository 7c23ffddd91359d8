"""Linear layers that also multiply a few rows fast, as every step of decoding does."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST_PACKED = 2**20
"""Weights of more elements are not packed: a packed copy takes as much memory again."""

_CAN_PACK = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
)


class Linear(nn.Linear):
    """A linear layer without bias. Its weights are those of ``nn.Linear`` under the same name.

    Where nothing is learned, a single step on a CPU in float32 is multiplied by oneDNN from a copy of the weight in
    oneDNN's own order, which takes about half the time (4 rows through 256 x 1,024: 90 against 193 us on one thread).
    The copy is made at first use and again when the weight has changed.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self._packed: dict[int, tuple[int, int, Tensor]] = {}

    def forward(self, rows: Float[Tensor, "*rows i"], num_outputs: int | None = None) -> Float[Tensor, "*rows o"]:
        """The product; of the first ``num_outputs`` outputs only, if given."""
        count = num_outputs or self.out_features
        is_step = rows.ndim == 3 and rows.shape[1] == 1 and rows.device.type == "cpu"
        if is_step and self._may_pack(rows, count):
            product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed_weight(count), None, "none", [], "")
            return product
        return F.linear(rows, self.weight[:count])

    def _may_pack(self, rows: Tensor, count: int) -> bool:
        return (
            _CAN_PACK
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and rows.dtype == self.weight.dtype == torch.float32
            and self.in_features * count <= LARGEST_PACKED
        )

    def _packed_weight(self, count: int) -> Tensor:
        weight = self.weight
        known = self._packed.get(count)
        if known is None or known[:2] != (weight.data_ptr(), weight._version):
            packed = torch.ops.mkldnn._reorder_linear_weight(weight[:count].detach())
            known = self._packed[count] = (weight.data_ptr(), weight._version, packed)
        return known[2]

    def __getstate__(self) -> dict[str, Any]:
        # A copy or a pickle packs for itself.
        return {**self.__dict__, "_packed": {}}
