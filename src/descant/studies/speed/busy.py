"""Other processes that keep processors busy while something is measured."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from descant.studies.speed.timing import Measurement, Values

ARITHMETIC = """
import os, sys
parent, number = int(sys.argv[1]), 1
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        number = (1_103_515_245 * number + 12_345) % 2**31
"""
"""It ends by itself when its parent is gone; it is then the child of another process."""


@contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """Within the block this number of processes compute, and nothing else; gives their process ids.

    They are gone at the end of the block, however it ends. One that is just being started when Ctrl-C comes ends with
    this process.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", ARITHMETIC, str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for us: we end them
                )
            )
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()  # it computes from here on
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.communicate()


def with_busy(count: int, measurement: Measurement) -> Measurement:
    """The measurement, taken while this number of other processes are busy."""

    def measured() -> Values:
        with busy_processes(count):
            return measurement()

    return measured
