"""What stands behind the name of a model, found without loading one."""

import shlex
from pathlib import Path

from descant.checkpoints import hub
from descant.checkpoints.layouts import read_model_config
from descant.checkpoints.names import SHIPPED, UNTRAINED, folder_of
from descant.checkpoints.native import starter_folder
from descant.checkpoints.trust import model_named_in_file, shown
from descant.errors import InvalidRequest
from descant.model import MusicGenConfig
from descant.presets import PRESETS


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
    folder = starter_folder() if name == SHIPPED else model_named_in_file(name)
    if folder is None:
        option = f"--model {shlex.quote(name)}" if len(name) <= 200 and name.isprintable() else "--model MODEL"
        raise InvalidRequest(
            f"{file!r:.200} was made by {shown(name)}, which is not opened or fetched on a file's word; "
            f"if you trust it, add {option}"
        )
    return folder
