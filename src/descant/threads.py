"""How many threads torch computes with, and how they wait: settled before torch is loaded.

OpenMP reads its environment once, when torch loads it. By default its threads spin while they wait for each other, and a
decoding step has hundreds of such waits: beside another busy process the half that was to arrive is not running, the
other half burns its time slice, and music that takes 3 s takes minutes or never ends. Threads that sleep while they
wait lose a few microseconds each time, and slow down in proportion. So importing ``descant`` asks for passive waiting
and for as many threads as this process may really use, unless the environment already says otherwise.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from descant.errors import InvalidRequest

THREADS = "OMP_NUM_THREADS"
WAITING = "OMP_WAIT_POLICY"
WAITING_NAMES = (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Each decides how threads wait; if one is set, the user has decided."""

MAX_THREADS = 1_024


@dataclass(frozen=True, kw_only=True)
class ThreadChoice:
    """What was settled for this process.

    Args:
        num_threads: how many threads torch will use.
        threads_reason: where that number comes from.
        is_passive: whether threads sleep while they wait.
        waiting_reason: where that comes from.
    """

    num_threads: int
    threads_reason: str
    is_passive: bool
    waiting_reason: str


_choice: ThreadChoice | None = None


def settle(environ: MutableMapping[str, str] = os.environ) -> ThreadChoice:
    """Settles threads and waiting for this process, once; later calls give the same choice.

    Changes ``environ``, which torch's OpenMP and child processes read. Where torch is already loaded nothing can be
    changed any more, and the choice says so.
    """
    global _choice
    if _choice is None:
        _choice = choose(environ, is_torch_loaded="torch" in sys.modules)
        if "torch" not in sys.modules:
            environ[THREADS] = str(_choice.num_threads)
            if not any(name in environ for name in WAITING_NAMES):
                environ[WAITING] = "PASSIVE"
    return _choice


def choose(environ: Mapping[str, str], *, is_torch_loaded: bool) -> ThreadChoice:
    """The choice for an environment, without changing anything."""
    num_threads, threads_reason = _num_threads(environ)
    set_names = [name for name in WAITING_NAMES if name in environ]
    if set_names:
        is_passive = environ.get(WAITING, "").strip().upper() == "PASSIVE" or environ.get("KMP_BLOCKTIME") == "0"
        return ThreadChoice(
            num_threads=num_threads,
            threads_reason=threads_reason,
            is_passive=is_passive,
            waiting_reason=f"{set_names[0]}={environ[set_names[0]]} in the environment",
        )
    return ThreadChoice(
        num_threads=num_threads,
        threads_reason="torch was imported before descant" if is_torch_loaded else threads_reason,
        is_passive=not is_torch_loaded,
        waiting_reason="torch was imported before descant" if is_torch_loaded else "descant's default",
    )


def use(num_threads: int) -> None:
    """Uses this many threads, whatever was settled before.

    Raises:
        InvalidRequest: not a number of threads.
    """
    global _choice
    if not 1 <= num_threads <= MAX_THREADS:
        raise InvalidRequest(f"--threads {num_threads}: allowed are 1 to {MAX_THREADS}")
    settled = settle()
    _choice = ThreadChoice(
        num_threads=num_threads,
        threads_reason=f"--threads {num_threads}",
        is_passive=settled.is_passive,
        waiting_reason=settled.waiting_reason,
    )
    os.environ[THREADS] = str(num_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)


def usable_cores() -> tuple[int, str]:
    """How many cores this process may keep busy, and what limits it: the machine, its affinity or its CPU quota."""
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
    """A name shared by the processors that are one core: two threads on it would only wait for each other."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _cpu_quota() -> float | None:
    """The cores that control groups (version 1 or 2) grant this process, the tightest of all levels; None if unlimited."""
    quotas = [_quota_of(folder) for folder in _cgroup_folders()]
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


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # "max" means no limit
        return None
