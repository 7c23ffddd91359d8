"""The adapters of a server: the folders in one folder, known to its users by their names."""

import threading
from collections import OrderedDict
from pathlib import Path

from descant.adapters import Adapter
from descant.api import MusicGen
from descant.apps.server.adapter_names import adapter_names
from descant.checkpoints.adapters import NAMES
from descant.errors import CheckpointError, InvalidRequest
from descant.generation.variants import MAX_KEPT


class AdapterShelf:
    """Adapters by name, read at their first use and whenever their files have changed. Threads may share it.

    Those are kept that were used last, as many as there are mixtures of them, and none that was removed.
    """

    def __init__(self, folder: Path, model: MusicGen) -> None:
        self._folder, self._model = folder, model
        self._read: OrderedDict[str, tuple[object, Adapter]] = OrderedDict()
        self._lock = threading.Lock()

    def named(self, name: str) -> Adapter:
        """The adapter with this name.

        Raises:
            InvalidRequest: there is none, or it does not fit the model or is broken.
        """
        names = adapter_names(self._folder)
        with self._lock:
            for removed in self._read.keys() - set(names):
                del self._read[removed]
        if name not in names:
            raise InvalidRequest(f"adapters: there is no {name!r:.80}; this server has {', '.join(names) or 'none'}")
        path = self._folder / name
        try:
            found = [(path / file).stat() for file in NAMES]
            identity = [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]
            with self._lock:
                if name not in self._read or self._read[name][0] != identity:
                    self._read[name] = (identity, self._model.load_adapter(path))
                self._read.move_to_end(name)
                if len(self._read) > MAX_KEPT:
                    self._read.popitem(last=False)
                return self._read[name][1]
        except (OSError, CheckpointError, InvalidRequest) as error:
            # The paths in these messages are the server's.
            detail = str(error).replace(str(path), name)
            raise InvalidRequest(f"adapters: {name}: {detail}") from error
