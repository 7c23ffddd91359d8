"""The application in Ray Serve: starts or joins Ray, starts and ends the replicas, and calls them."""

import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from types import ModuleType
from typing import Any

from descant.apps.server.cluster.replica import Place, Replica
from descant.apps.server.config import ClusterConfig, Limits
from descant.apps.server.engine.messages import Message
from descant.atomic import write_atomically
from descant.errors import InvalidRequest, MissingExtra, ProcessLost

LOCAL, AUTO = "local", "auto"
DEPLOYMENT = "engine"
NAME_FILE = "cluster-name"
OBJECT_STORE_BYTES = 100 * 2**20
"""Of a Ray that is started here: messages are small."""
HEALTH_EVERY_S = 2.0
STOPPING_S = 5.0
CONNECTING_S = 5.0
CHECKS = 2
"""Requests that are checked by a replica beside those that it makes."""

_log = logging.getLogger("descant.server")


def require_ray() -> ModuleType:
    """Ray, which reports nothing to anybody.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.serve
    except ImportError as error:
        raise MissingExtra('--cluster needs Ray: pip install "descant[cluster]"') from error
    return ray  # type: ignore[no-any-return]


class RayServe:
    """The replicas of one server, as an application of this name in Ray Serve.

    Methods that are not coroutines wait for Ray: call them from another thread than the event loop's.
    """

    def __init__(self, config: ClusterConfig, name: str, limits: Limits) -> None:
        self._config, self._name, self._limits = config, name, limits
        self._handle: Any = None

    def join(self) -> None:
        """Starts Ray on this machine, or joins the cluster that this machine is a part of.

        Raises:
            MissingExtra: Ray is not installed.
            InvalidRequest: there is no such cluster, or it cannot be joined.
        """
        ray, address = require_ray(), self._config.address
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        settings: dict[str, Any] = {}
        if address == LOCAL:
            num_cpus = max(os.cpu_count() or 1, self._config.replicas * (self._config.threads or 1))
            settings = {
                "num_cpus": num_cpus,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
            }
            # Ray listens on all addresses of the machine; since 2.60 one that is started so asks for a token by itself.
        elif address != AUTO:
            _require_reachable(address)
        try:
            ray.init(address, logging_level=logging.ERROR, **settings)
            ray.serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        except Exception as error:
            ray.shutdown()
            first_line = str(error).strip().partition("\n")[0]
            reason = f"{type(error).__name__}: {first_line:.300}"
            if address == LOCAL:
                raise InvalidRequest(f"--cluster {LOCAL}: Ray does not start here ({reason})") from error
            raise InvalidRequest(
                f"--cluster {address}: this machine is no part of such a cluster ({reason}); join with ray start, or "
                f"give {LOCAL}"
            ) from error

    def deploy(self) -> None:
        """Starts the replicas, and returns before they are there.

        Those of an earlier server with this name, which has ended without removing them, are removed.
        """
        serve = require_ray().serve
        if self._name in serve.status().applications:
            serve.delete(self._name)
        deployment = serve.deployment(
            name=DEPLOYMENT,
            num_replicas=self._config.replicas,
            # The server sends no more clips than there are places. Streams that wait for measures take a place as well.
            max_ongoing_requests=2 * self._limits.slots + CHECKS,
            ray_actor_options=self._resources(),
            health_check_period_s=HEALTH_EVERY_S,
            graceful_shutdown_timeout_s=STOPPING_S,
            graceful_shutdown_wait_loop_s=0.1,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )(Replica)
        application = deployment.bind(self._config.engine, self._limits.silence_s)
        target = serve.RunTarget(application, name=self._name, route_prefix=None)
        self._handle = serve.run_many([target], wait_for_applications_running=False)[0]

    def status(self) -> tuple[int, str | None]:
        """The number of replicas that run, and why Ray Serve has given up to start them, if it has.

        Raises:
            ProcessLost: the cluster does not answer.
        """
        from ray.serve.schema import ApplicationStatus

        try:
            found = require_ray().serve.status().applications.get(self._name)
        except Exception as error:
            raise ProcessLost(f"Ray Serve does not answer: {error}") from error
        if found is None:
            return 0, "somebody has removed the application from Ray Serve"
        deployment = found.deployments.get(DEPLOYMENT)
        if deployment is None:
            return 0, found.message if found.status == ApplicationStatus.DEPLOY_FAILED else None
        reason = deployment.message if found.status == ApplicationStatus.DEPLOY_FAILED else None
        return deployment.replica_states.get("RUNNING", 0), reason

    def delete(self) -> None:
        """Ends the replicas, if the cluster is still there."""
        try:
            require_ray().serve.delete(self._name)
        except Exception as error:
            _log.warning("the replicas could not be removed from the cluster: %s", error)

    def leave(self) -> None:
        """Ends the Ray that was started here; another goes on without this process."""
        require_ray().shutdown()

    async def describe(self) -> Message:
        """The message ``ready`` of a replica.

        Raises:
            ProcessLost: it has died.
        """
        return await _answer(self._handle.describe.remote())

    async def make(self, message: Message) -> AsyncIterator[Place | list[Message]]:
        """Has a replica make a clip, as in `Replica.make`; the clip is cancelled where this ends early.

        Raises:
            ProcessLost: the replica has died.
        """
        response = self._handle.options(stream=True).make.remote(message)
        try:
            async for batch in response:
                yield batch
        except Exception as error:
            raise ProcessLost(str(error)) from error
        finally:
            response.cancel()

    async def ask(self, message: Message) -> Message:
        """The answer of any replica to a question.

        Raises:
            ProcessLost: it has died.
        """
        return await _answer(self._handle.ask.remote(message))

    async def tell(self, message: Message) -> Message | None:
        """Tells the replica that makes a clip, and gives the answer to a question; None if no replica makes it.

        Raises:
            ProcessLost: a replica has died.
        """
        answers = await _answer(self._handle.broadcast("tell", message).results_async())
        return next(filter(None, answers), None)

    def _resources(self) -> dict[str, Any]:
        """What each replica takes of the cluster: a GPU, or its share of the processors."""
        nodes = [node["Resources"] for node in require_ray().nodes() if node["Alive"]]
        if self._config.device == "cuda" or (
            self._config.device == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes)
        ):
            return {"num_gpus": 1, "num_cpus": 1}
        cpus = [int(node.get("CPU", 0)) for node in nodes]
        num_cpus = self._config.threads or share_of(cpus, self._config.replicas)
        # Ray sets it as well, but not where this process has it already.
        return {"num_cpus": num_cpus, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(num_cpus)}}}


async def _answer(response: Awaitable[Any]) -> Any:
    try:
        return await response
    except Exception as error:
        raise ProcessLost(str(error)) from error


def application_name(folder: Path) -> str:
    """The name of the replicas of the server that keeps this folder; the next server there finds them by it."""
    path = folder / NAME_FILE
    if not path.is_file():
        write_atomically(path, f"descant-{secrets.token_hex(8)}".encode())
    return path.read_text()


def share_of(cpus: list[int], replicas: int) -> int:
    """The largest number of processors, at least one, with which all replicas fit on nodes with so many each."""
    fitting = (share for share in range(max(cpus, default=1), 1, -1) if sum(n // share for n in cpus) >= replicas)
    return next(fitting, 1)


def _require_reachable(address: str) -> None:
    """Refuses an address at which nothing answers, for which Ray would try for long."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECTING_S).close()
    except OSError as error:
        raise InvalidRequest(f"--cluster {address}: nothing answers there ({error})") from error
