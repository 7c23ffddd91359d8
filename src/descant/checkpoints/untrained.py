"""Untrained models: the size of a config, and a model folder with random weights to train from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from descant.checkpoints.native import load_text_encoder, save_model
from descant.conditioning.base import TextEncoder
from descant.conditioning.text import T5Text
from descant.errors import InvalidRequest
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.meta import on_meta_device
from descant.nn.rvq import VectorQuantizer


@dataclass(frozen=True, kw_only=True)
class Size:
    """Parameters of each part of a model; ``num_values`` counts all stored values, buffers included."""

    codec: int
    lm: int
    conditioners: int
    num_values: int

    @property
    def total(self) -> int:
        """Parameters of the whole model, without frozen encoders."""
        return self.codec + self.lm + self.conditioners


def size_of(config: MusicGenConfig) -> Size:
    """The size of a model with this config, without allocating it."""
    with on_meta_device():
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
        InvalidRequest: ``folder`` exists and is not an empty folder.
        CheckpointError: the text encoder to store in the folder is missing.
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
    """A placeholder for a text encoder outside the model's folder: it has a width and cannot encode."""

    def __init__(self, dim: int) -> None:
        self._dim = dim

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> TextEncoder:
        raise AssertionError(f"a placeholder for a text encoder cannot move to {device}")

    def states(self, text: str) -> Float[Tensor, "L D"]:
        raise AssertionError(f"a placeholder for a text encoder cannot encode {text!r}")
