"""Models without training: how large a shape is, and a model folder of that shape to begin from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from descant.checkpoints.native import load_text_encoder, save_model
from descant.conditioning.base import TextEncoder
from descant.errors import InvalidRequest
from descant.model import MusicGenConfig, MusicGenModel, T5Text
from descant.nn.rvq import VectorQuantizer


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many parameters each part of a model has; ``num_values`` counts whatever is stored, buffers too."""

    codec: int
    lm: int
    conditioners: int
    num_values: int

    @property
    def total(self) -> int:
        """Parameters of the whole model, without frozen encoders."""
        return self.codec + self.lm + self.conditioners


def size_of(config: MusicGenConfig) -> Size:
    """How large a model of this shape is; nothing is allocated for it."""
    with torch.device("meta"):
        model = MusicGenModel(config, Elsewhere(config.text.dim))
    codec, lm, everything = (
        sum(parameter.numel() for parameter in part.parameters()) for part in (model.codec, model.lm, model)
    )
    stored = sum(tensor.numel() for tensor in model.state_dict().values())
    return Size(codec=codec, lm=lm, conditioners=everything - codec - lm, num_values=stored)


def untrained_model(config: MusicGenConfig, encoder: TextEncoder) -> MusicGenModel:
    """A model of this shape with weights from torch's random generator.

    Codebooks are random too, so that the model makes noise and not silence; training starts them anew.
    """
    model = MusicGenModel(config, encoder)
    for module in model.modules():
        if isinstance(module, VectorQuantizer):
            module.codebook.normal_()
    return model


def save_untrained(config: MusicGenConfig, folder: Path, seed: int = 0) -> None:
    """Writes an untrained model of this shape, whose weights depend on the seed alone.

    Raises:
        InvalidRequest: something is at ``folder`` already.
        CheckpointError: the text encoder that belongs into the folder is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(f"{str(folder)!r} is there and not an empty folder; choose another name")
    is_stored = not isinstance(config.text, T5Text)
    encoder = load_text_encoder(config) if is_stored else Elsewhere(config.text.dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = untrained_model(config, encoder)
    save_model(model, folder, model_card=f"# An untrained model\n\nRandom weights (seed {seed}): it makes noise.\n")


class Elsewhere(TextEncoder):
    """Stands for a text encoder that is no part of the model's folder: it has a width and reads nothing."""

    def __init__(self, dim: int) -> None:
        self._dim = dim

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> TextEncoder:
        raise AssertionError(f"it only lends its width to a model, there is nothing to bring to {device}")

    def states(self, text: str) -> Float[Tensor, "L D"]:
        raise AssertionError(f"it only lends its width to a model and cannot read {text!r}")
