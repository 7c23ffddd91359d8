"""What tests of whole models share: a text encoder that is read out of thin air, and tiny models around it."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from descant import presets
from descant.conditioning.base import TextEncoder
from descant.model import MusicGenConfig, MusicGenModel, SmallText
from descant.nn.rvq import VectorQuantizer


class WordHashes(TextEncoder):
    """One vector a word, drawn from a seed that is the word's checksum."""

    def __init__(self, dim: int = 12, device: str | torch.device = "cpu") -> None:
        self._dim, self._device = dim, torch.device(device)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def device(self) -> torch.device:
        return self._device

    def to(self, device: torch.device | str) -> "WordHashes":
        return WordHashes(self._dim, device)

    def states(self, text: str) -> Float[Tensor, "L D"]:
        seeds = [zlib.crc32(word.encode()) for word in text.split()]
        rows = [torch.randn(self._dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(rows).to(self._device)


def make_tiny_model(**changes: object) -> MusicGenModel:
    """The tiny preset with the fields of its config replaced, random weights that are the same every time.

    ``lm_changes`` are those of its transformer. Weights are twice as large as at the start of training, where logits
    are all but uniform and hide what a condition does.
    """
    tiny = presets.tiny()
    transformer = replace(tiny.lm.transformer, **changes.pop("lm_changes", {}))  # type: ignore[arg-type]
    settled: dict[str, object] = {"text": SmallText(dim=12), "lm": replace(tiny.lm, transformer=transformer), **changes}
    config: MusicGenConfig = replace(tiny, **settled)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = MusicGenModel(config, WordHashes(config.text.dim))
        for parameter in model.lm.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2.0)
        for module in model.modules():
            if isinstance(module, VectorQuantizer):
                module.codebook.normal_()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model() -> MusicGenModel:
    """For reading only: a test that changes a model makes its own with ``make_model``."""
    return make_tiny_model()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., MusicGenModel]:
    return make_tiny_model


@pytest.fixture(scope="session")
def word_hashes() -> type[WordHashes]:
    return WordHashes


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the tests' type checks: values of wrong types meet only the checks that users have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
