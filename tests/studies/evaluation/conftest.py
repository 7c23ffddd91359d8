from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from descant.audio import Clip
from tests.studies.evaluation.embedders import BANDS, RATE_HZ, BandEmbedder, BandTexts

EMBEDDERS = {"embedder": BandEmbedder(), "labeller": BandEmbedder(), "text_embedder": BandTexts()}


def sound(band: int, seed: int, seconds: float = 3.0, noise: float = 0.0) -> torch.Tensor:
    """Notes in one of the six bands under a little noise, of which ``noise`` adds more."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    low_hz = band * RATE_HZ / 2 / BANDS
    tones = sum(
        torch.sin(2 * torch.pi * (low_hz + float(torch.rand(1, generator=generator)) * 600 + 30) * time_s)
        for _ in range(3)
    )
    level = 0.01 + noise
    return (0.1 * tones + level * torch.randn(len(time_s), generator=generator))[None]


def write_sounds(folder: Path, count: int, *, seed: int = 0, noise: float = 0.0, seconds: float = 3.0) -> Path:
    """Clips ``00.wav``, ``01.wav``, ..., each in the band of its number, whose prompt says so."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        clip = Clip(sound(number % BANDS, 100 * seed + number, seconds, noise), RATE_HZ)
        Clip(clip.samples * 0.5, RATE_HZ, info={"text": f"band {number % BANDS}"}).save(folder / f"{number:02d}.wav")
    return folder


@pytest.fixture
def write() -> Callable[..., Path]:
    return write_sounds


@pytest.fixture(scope="session")
def embedders() -> dict[str, object]:
    return EMBEDDERS


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """Two folders of 24 clips with the same names and prompts; for reading only."""
    root = tmp_path_factory.mktemp("pair")
    return write_sounds(root / "generated", 24, seed=1), write_sounds(root / "reference", 24, seed=2)
