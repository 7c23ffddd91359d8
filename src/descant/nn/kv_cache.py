"""A KV cache: the keys and values of every step that a transformer has read.

A cache is made for one batch, passed into each call, and thrown away. All its rows are at the same step.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from descant.errors import InvalidRequest
from descant.nn.inputs import Context


class LayerCache:
    """The keys and values of one layer, written in place.

    ``length`` counts the steps written so far. ``cross`` holds the keys and values of the conditions, computed by the
    first call: they stay the same for a whole request.
    """

    def __init__(self, keys: Float[Tensor, "B H S E"], values: Float[Tensor, "B H S E"]) -> None:
        self.keys = keys
        self.values = values
        self.length = 0
        self.cross: tuple[Float[Tensor, "B H L E"], Float[Tensor, "B H L E"]] | None = None

    def write(
        self, keys: Float[Tensor, "B H new E"], values: Float[Tensor, "B H new E"]
    ) -> tuple[Float[Tensor, "B H all E"], Float[Tensor, "B H all E"]]:
        """Stores new steps; gives views of all steps so far, the new ones last."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class StaticCache:
    """The caches of all layers, allocated at once for the longest sequence.

    Args:
        positions: the positions of every step, prefix included. Computed once: a decoding step would otherwise spend
            six small operations on the position of one step.
        context: the conditions that cross-attention reads.
    """

    def __init__(
        self, layers: Sequence[LayerCache], positions: Float[Tensor, "S _"], context: Context | None = None
    ) -> None:
        self.layers = layers
        self.positions = positions
        self.context = context

    @property
    def length(self) -> int:
        """Steps read so far, prefix included: the index of the next step."""
        return self.layers[0].length

    def next_positions(self, num_steps: int) -> Float[Tensor, "S _"]:
        """The positions of the next steps.

        Raises:
            InvalidRequest: the steps do not fit into the cache.
        """
        end = self.length + num_steps
        if end > len(self.positions):
            raise InvalidRequest(
                f"step {end} does not fit into a cache made for {len(self.positions)} steps: "
                "make it for as many as the whole sequence and its prefix have"
            )
        return self.positions[self.length : end]
