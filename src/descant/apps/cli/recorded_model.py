"""Models that a sound file or a codes file names as its maker."""

import shlex
from pathlib import Path

from descant.checkpoints.names import SHIPPED, UNTRAINED
from descant.checkpoints.native import starter_folder
from descant.checkpoints.trust import model_named_in_file, shown
from descant.errors import InvalidRequest


def folder_named_in(file: str, name: str) -> Path | None:
    """The folder of the model that ``file`` names as its maker; None for ``tiny``, which has no files.

    Only ``starter``, ``tiny`` and models in the hub's cache are accepted on a file's word: see
    ``docs/decisions/2026-11-25-trust.md``.

    Raises:
        InvalidRequest: the file names another model; the message has the option to add if the user trusts it.
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
