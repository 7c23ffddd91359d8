"""What stays in memory of a model while it is read."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """By default everything.

    Args:
        keep: called with the name of each tensor of the model and the tensor as soon as it is read; gives what the
            model keeps of it, such as only its shape, on the meta device.
        text_encoder_on_disk: a T5 that is stored with the model stays in its file, and its weights are read again for
            every text. A T5 that the model only names is in memory all the same.
    """

    keep: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor  # noqa: ARG005
    text_encoder_on_disk: bool = False


EVERYTHING = Keeping()
