"""What stands behind the name of a model, found without loading one."""

import shlex
from pathlib import Path

from descant.checkpoints import audiocraft, hub
from descant.checkpoints.layouts import read_model_config, why_no_model
from descant.checkpoints.native import starter_folder
from descant.checkpoints.trust import model_named_in_file, shown
from descant.errors import CheckpointError, InvalidRequest
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
        is_folder = folder.is_dir()
        files = ("config.json", audiocraft.LM, audiocraft.CODEC)
        is_there = is_folder and any((folder / file).exists() for file in files)
    except (OSError, ValueError):  # a name that no file can have
        is_folder = is_there = False
    if not is_there:
        if is_folder:
            raise CheckpointError(f"model {name!r:.200}: {why_no_model(folder)}")
        hint = f"; {name} is a preset, whose untrained weights descant models init writes" if name in PRESETS else ""
        raise CheckpointError(f"model {name!r:.200}: not there; give starter, tiny, a model folder or a hub id{hint}")
    return folder


def config_of(name: str) -> MusicGenConfig:
    """The model's shape and defaults.

    Raises:
        CheckpointError: there is no such model, or its config is broken.
    """
    if name != UNTRAINED and hub.is_id(name) and not Path(name).is_dir():
        with hub.settings_of(name) as folder:
            return read_model_config(folder)
    found = folder_of(name)
    return PRESETS[name]() if found is None else read_model_config(found)


def folder_named_in(file: str, name: str) -> Path | None:
    """Where the model is that made a sound file or a codes file, by the name that stands there; None for ``tiny``.

    Of what a file names only ``starter``, ``tiny`` and models in the hub's cache are used: see
    ``docs/decisions/2026-11-25-trust.md``.

    Raises:
        InvalidRequest: it is another; the message has the option to add for one that the user trusts.
    """
    if name == UNTRAINED:
        return None
    folder = starter_folder() if name == "starter" else model_named_in_file(name)
    if folder is None:
        option = f"--model {shlex.quote(name)}" if len(name) <= 200 and name.isprintable() else "--model MODEL"
        raise InvalidRequest(
            f"{file!r:.200} was made by {shown(name)}, which is not opened or fetched on a file's word; "
            f"if you trust it, add {option}"
        )
    return folder
