"""Text and melodies into music.

``descant.load("starter").generate("warm lo-fi piano, slow", duration_s=10).save("piano.wav")``
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from descant import threads
from descant.errors import (
    AudioError,
    Cancelled,
    CheckpointError,
    ConfigError,
    DataError,
    DescantError,
    InvalidRequest,
    MissingExtra,
    TrainingDiverged,
)
from descant.memory import garbage_collection_paused
from descant.version import __version__

# Before anything imports torch, which reads this once.
threads.configure()

if TYPE_CHECKING:
    from descant.api import MusicGen, load
    from descant.audio import Clip
    from descant.generation.request import Guidance, Request, Sampling
    from descant.provenance import request_from_info

__all__ = [
    "AudioError",
    "Cancelled",
    "CheckpointError",
    "Clip",
    "ConfigError",
    "DataError",
    "DescantError",
    "Guidance",
    "InvalidRequest",
    "MissingExtra",
    "MusicGen",
    "Request",
    "Sampling",
    "TrainingDiverged",
    "__version__",
    "load",
    "request_from_info",
]

_HOME = {
    "MusicGen": "descant.api",
    "load": "descant.api",
    "request_from_info": "descant.provenance",
    "Clip": "descant.audio",
    "Guidance": "descant.generation.request",
    "Request": "descant.generation.request",
    "Sampling": "descant.generation.request",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first asked for, so that ``descant --help`` answers at once."""
    if name not in _HOME:
        raise AttributeError(f"module 'descant' has no attribute {name!r}")
    with garbage_collection_paused():
        home = import_module(_HOME[name])
    return getattr(home, name)
