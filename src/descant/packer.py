"""Packing the matrices of a model while it is read, so that they are never in memory as they are in its file."""

from torch import Tensor

from descant.checkpoints.fingerprint import part_of
from descant.devices import WeightFormat
from descant.generation.runtimes.native.packing import PackedWeight
from descant.generation.runtimes.native.weights import is_matrix_of_layer, pack_matrix
from descant.memory import return_freed
from descant.nn.meta import shape_of

RETURN_BYTES = 2**26
"""What was freed goes back to the system each time that this much was read."""


class WeightPacker:
    """What becomes of a language model that decodes with rounded matrices: each is packed as soon as it is read.

    Attributes:
        packed: the matrices, by their names in the language model.
        fingerprints: what the model's fingerprint hashes of them as they were, by their names in the model.
    """

    def __init__(self, format: WeightFormat) -> None:
        self.format = format
        self.packed: dict[str, tuple[PackedWeight, ...]] = {}
        self.fingerprints: dict[str, bytes] = {}
        self._num_bytes = 0

    def keep(self, name: str, tensor: Tensor) -> Tensor:
        """Packs a matrix, of which only the shape is kept; other tensors are kept as they are."""
        in_lm = name.removeprefix("lm.")
        if in_lm == name or not is_matrix_of_layer(in_lm, tensor):
            return tensor
        self.fingerprints[name] = part_of(name, tensor)
        self.packed[in_lm] = pack_matrix(in_lm, tensor, self.format)
        self._num_bytes += tensor.nbytes
        if self._num_bytes >= RETURN_BYTES:
            self._num_bytes = 0
            return_freed()
        return shape_of(tensor)
