"""Linear maps of which a part can be computed."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FusedLinear(nn.Linear):
    """Several linear maps of the same input in one matrix without biases: query, key and value."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(num_inputs, num_outputs, bias=False)

    def part(self, x: Float[Tensor, "*batch I"], first: int, last: int | None = None) -> Float[Tensor, "*batch part"]:
        """The outputs from ``first`` to before ``last``, computed without the others."""
        return F.linear(x, self.weight[first:last])
