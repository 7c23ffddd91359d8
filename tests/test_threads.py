"""Threads and waiting are configured before torch is loaded, and music ends next to other work."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from descant import threads
from descant.errors import InvalidRequest

NOTHING_SET = {
    name: value for name, value in os.environ.items() if name not in (threads.THREADS, *threads.WAITING_NAMES)
}
SHOW = (
    "import os, descant, torch; "
    "print([torch.get_num_threads(), *[os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')]])"
)


def output_of(code: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], env={**NOTHING_SET, **environment}, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_torch_gets_as_many_threads_as_there_are_cores_and_they_sleep_soon():
    cores, _ = threads.usable_cores()
    assert output_of(SHOW) == str([cores, None, threads.WAITING["GOMP_SPINCOUNT"]])


@pytest.mark.parametrize("number", ["1", "1,2", " 1 "])
def test_a_number_in_the_environment_counts(number):
    assert output_of(SHOW, OMP_NUM_THREADS=number).startswith("[1,")


@pytest.mark.parametrize("number", ["0", "abc", "-1", "", "99999999999", "2.5"])
def test_what_is_not_a_number_of_threads_does_not_count(number):
    """OMP_NUM_THREADS=0 and abc once left the machine spinning for ever."""
    cores, _ = threads.usable_cores()
    assert output_of(SHOW, OMP_NUM_THREADS=number).startswith(f"[{cores},")
    assert (
        "is not a number of threads" in threads.choose({threads.THREADS: number}, is_torch_loaded=False).threads_reason
    )


@pytest.mark.parametrize("name", threads.WAITING_NAMES)
def test_how_the_user_wants_threads_to_wait_is_left_alone(name):
    environ = {name: "7"}
    assert threads.choose(environ, is_torch_loaded=False).waiting == f"{name}=7 in the environment"
    code = f"import os, descant; print([n for n in {threads.WAITING_NAMES} if n in os.environ])"
    assert output_of(code, **{name: "7" if name != "OMP_WAIT_POLICY" else "ACTIVE"}) == str([name])


def test_where_torch_came_first_nothing_is_changed_and_it_is_said():
    code = (
        "import os, torch; before = dict(os.environ); import descant; from descant import threads; "
        "print(dict(os.environ) == before, threads.configure().waiting)"
    )
    assert output_of(code) == "True they spin (torch was imported before descant)"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors are chosen on Linux only")
def test_only_the_cores_that_a_process_may_run_on_count():
    assert output_of(f"import os; os.sched_setaffinity(0, {{0}}); {SHOW}").startswith("[1,")


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "200000 100000"}, 2.0),
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}, 1.5),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_quota_of_a_container_is_read(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert threads.quota_of(tmp_path) == quota


@pytest.mark.parametrize(("quota", "expected"), [(1.5, 1), (0.5, 1), (1.0, 1), (2.5, 2), (3.0, 3)])
def test_a_quota_limits_the_threads(monkeypatch, quota, expected):
    monkeypatch.setattr(threads, "_cpu_quota", lambda: quota)
    monkeypatch.setattr(threads, "_core_of", str)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert threads.usable_cores() == (expected, f"a CPU quota of {quota:g} cores")


def test_a_quota_of_more_than_there_is_does_not_limit(monkeypatch):
    monkeypatch.setattr(threads, "_cpu_quota", lambda: 6.0)
    monkeypatch.setattr(threads, "_core_of", str)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    cores, reason = threads.usable_cores()
    assert cores == 4
    assert "quota" not in reason


def test_two_processors_of_one_core_get_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_cpu_quota", lambda: None)
    monkeypatch.setattr(threads, "_core_of", lambda cpu: str(cpu // 2))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert threads.usable_cores()[0] == 2


@pytest.mark.parametrize("number", [0, -1, 5_000])
def test_an_absurd_number_of_threads_is_refused(number):
    with pytest.raises(InvalidRequest, match=f"--threads {number}: allowed are 1 to 1024"):
        threads.use(number)


def test_the_option_counts_more_than_the_environment_and_the_doctor_says_so():
    run = subprocess.run(
        [sys.executable, "-m", "descant", "doctor", "--threads", "1", "--json"],
        env={**NOTHING_SET, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(run.stdout)["threads"]
    assert (found["count"], found["because_of"]) == (1, "--threads 1")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@pytest.mark.parametrize(
    ("imports", "num_busy"), [("import descant", 1), ("import descant", 4), ("import torch, descant", 1)]
)
def test_music_ends_next_to_busy_processes(imports, num_busy):
    """With threads that spin, four seconds of music were not finished after 150 s next to one busy loop."""
    code = f"{imports}; descant.load().generate('slow piano', duration_s=1, seed=1)"
    began = time.monotonic()
    output_of(code)
    quiet_s = time.monotonic() - began
    with busy_processes(num_busy):
        began = time.monotonic()
        output_of(code)
        busy_s = time.monotonic() - began
    assert busy_s < (4 if num_busy == 1 else 12) * quiet_s + 5
