"""How a server is set up, and its limits."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from descant.apps.server.adapter_names import FOLDER
from descant.apps.server.engine.program import Engine
from descant.user_files import data_folder

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, one owner and the server may ask for."""

    text_characters: int = 2_000
    sections: int = 32
    count: int = 8
    best_of: int = 8
    duration_s: float = 300.0
    upload_bytes: int = 25 * 2**20
    upload_s: float = 600.0
    upload_min_s: float = 0.02
    """A frame of the codecs: of less nothing can be continued, and a melody or a style needs more."""
    json_bytes: int = 2**16
    wait_s: int = 60
    queue: int = 64
    queue_per_owner: int = 16
    streams_per_owner: int = 64
    slots: int = 8
    upload_kept_s: float = 24 * 3_600.0
    trash_kept_s: float = 7 * 24 * 3_600.0
    attempts: int = 3
    silence_s: float = 30.0
    """An engine that has work and says nothing for so long is taken for dead."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Engines as replicas in Ray Serve.

    Args:
        address: ``local`` starts Ray on this machine; ``auto`` joins the one that runs here, and ``HOST:PORT`` the one
            with this head, which this machine must be a part of.
        replicas: how many engines.
        engine: what works in each.
        device: ``auto``, ``cuda``, ``cpu`` or ``mps``; the first is CUDA if there is a GPU in the cluster.
        threads: of each replica on a CPU; None for its share of the cluster's processors.
    """

    address: str
    replicas: int
    engine: Engine
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """A server.

    Args:
        folder: what it keeps.
        engine: the command of the engine's process.
        cluster: engines that are there instead of this process.
        keys: the file with the keys; without any key, everyone on a loopback address is the owner ``local``.
    """

    folder: Path
    engine: tuple[str, ...]
    keys: Path
    model: str = "starter"
    host: str = "127.0.0.1"
    port: int = 8_765
    quota_bytes: int = 10 * GIB
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    has_studio: bool = True
    cluster: ClusterConfig | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def adapters(self) -> Path:
        """The folder with the adapters that jobs may name."""
        return self.folder / FOLDER


def engine_command(model: str, device: str, precision: str, adapters: Path) -> tuple[str, ...]:
    """The command of an engine with this model, and with the adapters in a folder."""
    return (sys.executable, "-m", "descant.apps.server.engine", model, device, precision, str(adapters))


def default_folder() -> Path:
    """Where a user's server keeps everything: ``$DESCANT_HOME/studio``, or the platform's folder for data."""
    home = os.environ.get("DESCANT_HOME")
    return (Path(home) if home else data_folder()) / "studio"
