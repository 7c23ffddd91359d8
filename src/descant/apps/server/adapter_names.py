"""The names of a server's adapters: clients never name paths."""

import re
from pathlib import Path

from descant.checkpoints.adapters import is_adapter

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
FOLDER = "adapters"
"""Within the folder of a server."""


def adapter_names(folder: Path) -> list[str]:
    """The names of the adapters in a folder, in order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if re.fullmatch(NAME, path.name) and is_adapter(path))
