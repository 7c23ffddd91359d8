"""The service on the test engine: ``python tests/apps/server/paced_server.py --data DIR --port 8765 --pace 1``.

All else is as in ``descant serve``. What the engine does wrong is said in the texts of requests (paced_engine.py).
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from descant.apps.server.config import ClusterConfig, Limits, ServerConfig
from descant.apps.server.run import run
from tests.apps.server.paced_engine import play

ENGINE = Path(__file__).with_name("paced_engine.py")


def paced_config(
    folder: Path,
    *,
    pace: float = 1.0,
    chunk_s: float = 0.2,
    load_s: float = 0.0,
    precision: str = "fp32",
    limits: dict | None = None,
    cluster: str | None = None,
    replicas: int = 1,
    **settings,
) -> ServerConfig:
    """A server that plays the test signal at this pace, in seconds of audio per second."""
    engine = partial(play, pace=pace, chunk_s=chunk_s, load_s=load_s, precision=precision)
    given = {"--pace": pace, "--chunk-s": chunk_s, "--load-s": load_s}
    options = [part for name, value in given.items() for part in (name, f"{value:g}")]
    return ServerConfig(
        folder=folder,
        engine=(sys.executable, str(ENGINE), *options, "--precision", precision),
        keys=settings.pop("keys", folder / "keys.json"),
        model="paced",
        cluster=None if cluster is None else ClusterConfig(address=cluster, replicas=replicas, engine=engine),
        limits=Limits(**{"silence_s": 20.0, **(limits or {})}),
        **settings,
    )


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8_765)
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--cluster")
    parser.add_argument("--replicas", type=int, default=1)
    for name, default in (("--pace", 1.0), ("--chunk-s", 0.2), ("--load-s", 0.0)):
        parser.add_argument(name, type=float, default=default)
    arguments = parser.parse_args()
    config = paced_config(
        arguments.data,
        pace=arguments.pace,
        chunk_s=arguments.chunk_s,
        load_s=arguments.load_s,
        limits={"slots": arguments.slots},
        cluster=arguments.cluster,
        replicas=arguments.replicas,
        host=arguments.host,
        port=arguments.port,
        allowed_hosts=tuple(arguments.allowed_host),
    )
    run(config, is_opened=False, note=lambda text: print(text, file=sys.stderr, flush=True))


if __name__ == "__main__":
    main()
