"""Resolution of model names: a preset, a folder, or a model on the hub. Decided here and nowhere else."""

import os
from pathlib import Path

from descant.checkpoints import audiocraft, hub
from descant.checkpoints.layouts import read_model_config, why_no_model
from descant.checkpoints.native import starter_folder
from descant.errors import CheckpointError
from descant.model import MusicGenConfig
from descant.presets import PRESETS

UNTRAINED = "tiny"
"""The preset that ``descant.load`` creates with random weights."""

SHIPPED = "starter"
"""The model whose weights are in the package."""


def recorded_name(model: str) -> str:
    """The name to record for a model, which loads the same model again.

    ``~`` is expanded and a slash at the end dropped. The folder ``tiny/`` becomes ``./tiny``, as ``tiny`` is a preset.
    """
    expanded = os.path.expanduser(model)
    plain = expanded.rstrip("/") or expanded
    return f"./{plain}" if plain != model and plain in (UNTRAINED, SHIPPED) else plain


def folder_of(model: str) -> Path | None:
    """The folder of a model's files, fetched from the hub if necessary; None for the preset that has none.

    Only the bare names are presets: ``tiny/``, ``./tiny`` and ``~/tiny`` are folders.

    Raises:
        CheckpointError: there is no such model; the message says what there is.
        MissingExtra: the name is a hub id, and huggingface_hub is not installed.
    """
    if model == UNTRAINED:
        return None
    folder = starter_folder() if model == SHIPPED else Path(os.path.expanduser(model))
    try:
        if not folder.is_dir() and hub.is_id(model):
            folder = hub.find(model)
        is_folder = folder.is_dir()
        files = ("config.json", audiocraft.LM, audiocraft.CODEC)
        holds_model = is_folder and any((folder / file).exists() for file in files)
    except (OSError, ValueError):  # a name too long or invalid for the file system
        is_folder = holds_model = False
    if holds_model:
        return folder
    if is_folder:
        raise CheckpointError(f"model={model!r:.200}: {why_no_model(folder)}")
    hint = f"; {model} is a preset, whose untrained weights descant models init writes" if model in PRESETS else ""
    raise CheckpointError(f"model={model!r:.200}: no such model; give starter, tiny, a model folder or a hub id{hint}")


def config_of(model: str) -> MusicGenConfig:
    """The config of a model, read without its weights; of a model on the hub only its configs are fetched.

    Raises:
        CheckpointError: there is no such model, or its config is broken.
        MissingExtra: the name is a hub id, and huggingface_hub is not installed.
    """
    if model != UNTRAINED and hub.is_id(model) and not Path(model).is_dir():
        with hub.settings_of(model) as folder:
            return read_model_config(folder)
    found = folder_of(model)
    return PRESETS[model]() if found is None else read_model_config(found)
