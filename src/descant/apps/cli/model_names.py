"""What stands behind the name of a model, found without loading one."""

from pathlib import Path

from descant.checkpoints import audiocraft, hub
from descant.checkpoints.layouts import read_model_config
from descant.checkpoints.native import starter_folder
from descant.errors import CheckpointError
from descant.model import MusicGenConfig
from descant.presets import PRESETS

UNTRAINED = "tiny"
"""The one preset that ``descant.load`` makes on the spot, with random weights."""


def folder_of(name: str) -> Path | None:
    """Where the model's files are; None for the one that has none.

    Raises:
        CheckpointError: there is no such model.
    """
    if name == UNTRAINED:
        return None
    folder = starter_folder() if name == "starter" else Path(name)
    try:
        if hub.is_id(name) and not folder.is_dir():
            folder = hub.find(name)
        is_there = folder.is_dir() and any(
            (folder / file).exists() for file in ("config.json", audiocraft.LM, audiocraft.CODEC)
        )
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if not is_there:
        told = f"; {name} is a preset, whose untrained weights descant models init writes" if name in PRESETS else ""
        raise CheckpointError(f"model {name!r:.200}: not there; give starter, tiny, a model folder or a hub id{told}")
    return folder


def config_of(name: str) -> MusicGenConfig:
    """The model's shape and defaults.

    Raises:
        CheckpointError: there is no such model, or its config is broken.
    """
    folder = folder_of(name)
    return PRESETS[name]() if folder is None else read_model_config(folder)
