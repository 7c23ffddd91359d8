"""The number of torch's threads and how they wait for each other: configured before torch is loaded.

OpenMP reads its environment once, when torch loads it. By default its threads spin while they wait for each other, and
a decoding step has hundreds of such waits. Next to another busy process the thread that the others wait for may not be
running, while they use up the processor that it needs: music that takes 3 s then takes minutes. So importing
``descant`` configures threads that sleep after a short spin, as many as this process may really use, unless the
environment already configures them.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path

from descant.errors import InvalidRequest

THREADS = "OMP_NUM_THREADS"
WAITING = {"GOMP_SPINCOUNT": "100", "KMP_BLOCKTIME": "1"}
"""How long threads spin before they sleep: iterations of a loop for GNU's OpenMP, milliseconds for LLVM's and Intel's.
Their own defaults are some milliseconds and 200 ms. An iteration is one ``pause``, 10 to 140 cycles: 100 are a few
microseconds, within which the next operation usually begins."""

WAITING_NAMES = ("OMP_WAIT_POLICY", *WAITING)
"""If one of these is set, the user's choice stays."""

MAX_THREADS = 1_024
TORCH_CAME_FIRST = "torch was imported before descant"


@dataclass(frozen=True, kw_only=True)
class ThreadChoice:
    """The configuration of this process's threads.

    Args:
        num_threads: how many threads torch uses; None if torch had already been loaded with its own number.
        threads_reason: the source of that number.
        waiting: how threads wait for each other, and the source of that.
    """

    num_threads: int | None
    threads_reason: str
    waiting: str


_choice: ThreadChoice | None = None


def configure(environ: MutableMapping[str, str] = os.environ) -> ThreadChoice:
    """Configures the threads of this process, once; later calls return the same choice.

    Changes ``environ``, which torch's OpenMP and child processes read. If torch is loaded already, nothing can be
    changed any more, and the choice says so.
    """
    global _choice
    if _choice is None:
        is_torch_loaded = "torch" in sys.modules
        _choice = choose(environ, is_torch_loaded=is_torch_loaded)
        if not is_torch_loaded:
            environ[THREADS] = str(_choice.num_threads)
            if not any(name in environ for name in WAITING_NAMES):
                environ.update(WAITING)
    return _choice


def choose(environ: Mapping[str, str], *, is_torch_loaded: bool) -> ThreadChoice:
    """The choice for an environment, without changing anything."""
    given = [f"{name}={environ[name]} in the environment" for name in WAITING_NAMES if name in environ]
    if is_torch_loaded:
        waiting = given[0] if given else f"they spin ({TORCH_CAME_FIRST})"
        return ThreadChoice(num_threads=None, threads_reason=TORCH_CAME_FIRST, waiting=waiting)
    num_threads, reason = _num_threads(environ)
    waiting = given[0] if given else "they sleep after a short spin"
    return ThreadChoice(num_threads=num_threads, threads_reason=reason, waiting=waiting)


def use(num_threads: int) -> None:
    """Uses ``num_threads`` threads from now on.

    Raises:
        InvalidRequest: the number is not allowed.
    """
    global _choice
    if not 1 <= num_threads <= MAX_THREADS:
        raise InvalidRequest(f"--threads {num_threads}: allowed are 1 to {MAX_THREADS}")
    _choice = replace(configure(), num_threads=num_threads, threads_reason=f"--threads {num_threads}")
    os.environ[THREADS] = str(num_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)


def current() -> int:
    """How many threads torch uses, or will use once it is loaded."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    return configure().num_threads or usable_cores()[0]


def usable_cores() -> tuple[int, str]:
    """How many cores this process may use, and what limits it: the machine, its affinity or its CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = affinity(0) if affinity is not None else set(range(os.cpu_count() or 1))
    cores = len({_core_of(cpu) for cpu in allowed})
    quota = _cpu_quota()
    if quota is not None and int(quota) < cores:
        return max(1, int(quota)), f"a CPU quota of {quota:g} cores"
    if len(allowed) < (os.cpu_count() or 1):
        return cores, f"{cores} cores that this process may run on"
    return cores, f"{cores} cores"


def _num_threads(environ: Mapping[str, str]) -> tuple[int, str]:
    cores, reason = usable_cores()
    given = environ.get(THREADS)
    if given is None:
        return cores, reason
    # OpenMP takes a list, one number for each level of nesting; torch uses the first.
    first = given.split(",")[0].strip()
    if first.isascii() and first.isdigit() and 1 <= int(first) <= MAX_THREADS:
        return int(first), f"{THREADS}={given} in the environment"
    return cores, f"{reason}; {THREADS}={given:.20} is not a number of threads"


def _core_of(cpu: int) -> str:
    """A name shared by the logical processors of one core: two threads on it would only wait for each other."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _cpu_quota() -> float | None:
    """The CPU quota of this process's control groups (version 1 or 2), the smallest of all levels; None: no limit."""
    quotas = [quota_of(folder) for folder in _cgroup_folders()]
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroup_folders() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        inner = root / path.lstrip("/")
        folders += [folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents]
    return folders


def quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # "max" means no limit
        return None
