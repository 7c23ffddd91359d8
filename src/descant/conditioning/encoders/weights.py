"""The weights of a frozen network, which may stay on disk."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping

from jaxtyping import Float, Int
from torch import Tensor


class Weights(Mapping[str, Tensor]):
    """Tensors by name. They are frozen, so copies share them."""

    @abstractmethod
    def rows(self, name: str, index: Int[Tensor, " L"]) -> Float[Tensor, "L D"]:
        """Some rows of a matrix."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""

    def __deepcopy__(self, memo: object) -> "Weights":
        return self


class HeldWeights(Weights):
    """Weights in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def rows(self, name: str, index: Int[Tensor, " L"]) -> Float[Tensor, "L D"]:
        return self._tensors[name][index]
