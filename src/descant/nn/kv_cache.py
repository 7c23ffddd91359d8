"""What a transformer remembers between two calls: the keys and values of every step it has read.

A cache is made for one batch, passed into each call, and thrown away. All its rows stand at the same step.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import InvalidRequest
from descant.nn.inputs import Context
from descant.nn.linear import StepProducts
from descant.nn.step import StepContext, StepTables


class LayerCache:
    """The memory of one layer.

    ``length`` counts the steps written so far. ``cross`` holds the keys and values of the conditions, put there by the
    first call: they stay the same for a whole request. ``products`` multiplies with the layer's weights; ``tables`` and
    ``context`` are what `step.py` makes once.
    """

    def __init__(
        self,
        keys: Float[Tensor, "B H room E"],
        values: Float[Tensor, "B H room E"],
        positions: Float[Tensor, "S P"],
        products: StepProducts,
    ) -> None:
        self.keys = keys
        self.values = values
        self.positions = positions
        self.products = products
        self.length = 0
        self.cross: tuple[Tensor, Tensor] | None = None
        self.tables: StepTables | None = None
        self.context: StepContext | None = None

    def write(
        self, keys: Float[Tensor, "B H S E"], values: Float[Tensor, "B H S E"]
    ) -> tuple[Float[Tensor, "B H past E"], Float[Tensor, "B H past E"]]:
        """Stores new steps in place; gives views of all steps so far, the new ones last."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class StaticCache:
    """Room for the steps of every layer, taken at once and written in place.

    Args:
        positions: what tells each step its place, a row for every step of the longest sequence, prefix included.
            Computed once: a decoding step would otherwise spend six small operations on the position of one step.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        batch: int,
        num_heads: int,
        head_dim: int,
        positions: Float[Tensor, "S P"],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # A multiple of four: products round differently for matrices that lie differently in memory, and every head's
        # must lie as in a cache of another length.
        shape = (batch, num_heads, -(-len(positions) // 4) * 4, head_dim)
        self.products = StepProducts()
        self.layers = [
            LayerCache(
                torch.zeros(shape, dtype=dtype, device=positions.device),
                torch.zeros(shape, dtype=dtype, device=positions.device),
                positions,
                self.products,
            )
            for _ in range(num_layers)
        ]
        self.context: Context | None = None
        self.positions = positions

    @property
    def position(self) -> int:
        """Steps read so far, prefix included: the index of the step that comes next."""
        return self.layers[0].length

    def next_positions(self, num_steps: int) -> Float[Tensor, "S P"]:
        """The places of the next steps.

        Raises:
            InvalidRequest: the steps do not fit any more.
        """
        end = self.position + num_steps
        if end > len(self.positions):
            raise InvalidRequest(
                f"step {end} does not fit into a cache made for {len(self.positions)} steps: "
                "make it for as many as the whole sequence and its prefix have"
            )
        return self.positions[self.position : end]

    def keep_rows(self, index: Int[Tensor, " rows"]) -> None:
        """Keeps only these rows of the batch, in this order: requests that are finished leave."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[index], layer.values[index]
            if layer.cross is not None:
                layer.cross, layer.context = (layer.cross[0][index], layer.cross[1][index]), None
        if self.context is not None:
            self.context = self.context.rows(index)
