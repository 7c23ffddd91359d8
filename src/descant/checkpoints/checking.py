"""Whether a model folder would load."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from descant.errors import CheckpointError
from descant.model import MusicGenModel


@dataclass(frozen=True)
class ModelCheck:
    """The findings of ``check_model``. A folder without problems loads."""

    folder: Path
    num_parameters: int
    size_bytes: int
    problems: tuple[str, ...]


def check_model(folder: Path, load: Callable[[Path], MusicGenModel]) -> ModelCheck:
    """Whether ``load`` reads a folder: configs, names, shapes and values of all tensors; nothing unsafe is read."""
    problems: list[str] = []
    num_parameters = 0
    try:
        num_parameters = sum(p.numel() for p in load(folder).parameters())
    except CheckpointError as error:
        problems.append(str(error))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return ModelCheck(folder, num_parameters, size, tuple(problems))
