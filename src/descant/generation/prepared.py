"""Conditions prepared once for all requests, windows and sections of a call that share them."""

import hashlib
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from descant.conditioning.base import Conditions
from descant.model import MusicGenModel, PreparedConditions
from descant.nn.settings import in_one_thread

MAX_PREPARED = 16
"""More are forgotten, those used least recently first: a long timeline must not keep all its sections."""


class Preparer:
    """Prepares conditions for one model and one call. Threads may share it."""

    def __init__(self, model: MusicGenModel) -> None:
        self._model = model
        self._prepared: dict[Hashable, PreparedConditions] = {}
        self._lock = threading.Lock()

    @in_one_thread
    def prepare(self, rows: Sequence[Conditions]) -> PreparedConditions:
        """What ``MusicGenModel.prepare`` gives, the same bits with any number of threads; for reading only, since later
        calls may get the same.

        Raises:
            InvalidRequest: as ``MusicGenModel.prepare``.
        """
        key = tuple(frozenset((name, _key(value)) for name, value in row.items() if value is not None) for row in rows)
        with self._lock:
            prepared = self._prepared.pop(key) if key in self._prepared else self._model.prepare(rows)
            self._prepared[key] = prepared
            if len(self._prepared) > MAX_PREPARED:
                del self._prepared[next(iter(self._prepared))]
        return prepared


def _key(value: Any) -> Hashable:
    """Equal for equal conditions: a text, chords, or what a tensor holds."""
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        return (value.dtype, value.shape, hashlib.sha256(content).digest())
    assert isinstance(value, Hashable)
    return value
