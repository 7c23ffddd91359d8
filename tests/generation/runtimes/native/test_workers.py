"""Threads that share a program: every tile is done once, in the order of the operations, whoever comes when."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from llvmlite import ir

from descant.compiled.code import I64, POINTER, Code, Target
from descant.compiled.library import Library, object_code
from descant.compiled.workers import Job, Operation

TILES_PER_TOKEN, MOST_TOKENS, NUM_OPERATIONS = 3, 8, 40


def library() -> Library:
    """``copy(words, state, tile)``: adds 1 to what the operation before wrote for the tile after the next."""
    module = ir.Module()
    code = Code(module, "copy", [POINTER, POINTER, I64])
    words, state, tile = code.function.args
    before, own = code.pointer_at(words, 0), code.pointer_at(words, 1)
    num_tiles = code.mul(code.read(state, I64(0), I64), I64(TILES_PER_TOKEN))
    source = code.srem(code.add(tile, I64(2)), num_tiles)
    code.write(code.add(code.read(before, source, I64), I64(1)), own, tile)
    code.ret_void()
    return Library(object_code(module, Target.host()))


class Chain:
    """Operations that each need all tiles of the one before."""

    def __init__(self) -> None:
        self.library = library()
        self.values = np.zeros((NUM_OPERATIONS + 1, MOST_TOKENS * TILES_PER_TOKEN), np.int64)
        words = np.zeros((NUM_OPERATIONS, 2), np.int64)
        operations = []
        for index in range(NUM_OPERATIONS):
            words[index] = self.values[index].ctypes.data, self.values[index + 1].ctypes.data
            operations.append(Operation(self.library.address("copy"), words[index], tiles_per_token=TILES_PER_TOKEN))
        self.job = Job(operations, np.zeros(2, np.int64), self.library)

    def run(self, first: int, num_threads: int) -> None:
        """Checks the values of every operation, from ones that begin with ``first``; as many tokens as it says too."""
        num_tokens = first % MOST_TOKENS + 1
        num_tiles = num_tokens * TILES_PER_TOKEN
        self.values[:] = -1
        self.values[0] = np.arange(MOST_TOKENS * TILES_PER_TOKEN) + first
        self.job.run(num_tokens, num_threads)
        for index in range(1, NUM_OPERATIONS + 1):
            expected = np.roll(np.arange(num_tiles) + first, -2 * index) + index
            np.testing.assert_array_equal(self.values[index, :num_tiles], expected)
        assert (self.values[1:, num_tiles:] == -1).all()


@pytest.mark.parametrize("num_threads", [1, 2, 3, 6])
def test_every_tile_is_done_once_and_after_those_that_it_needs(num_threads):
    chain = Chain()
    for first in range(300):
        chain.run(first, num_threads)


def test_jobs_of_several_callers_run_at_once():
    done: list[int] = []

    def call(start: int) -> None:
        chain = Chain()
        for first in range(start, start + 100):
            chain.run(first, 3)
        done.append(start)

    callers = [threading.Thread(target=call, args=(100 * number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(done) == [0, 100, 200, 300]


def test_a_thread_that_comes_late_leaves_a_finished_run_alone():
    chain = Chain()
    chain.run(0, 1)
    chain.run(1, 1)
    chain.values[:] = -1
    chain.job._state[0] = MOST_TOKENS  # of the next run, which has not begun
    for epoch, num_tokens in ((1, MOST_TOKENS), (2, 2)):
        chain.job.work(epoch, num_tokens)
    assert (chain.values == -1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    chain = Chain()
    chain.run(0, 3)
    child = os.fork()
    if child == 0:
        chain.run(7, 3)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_end_before_python_does():
    """One that is still there while Python takes itself down may be ended in the middle of what it does."""
    script = (
        "import atexit, threading; atexit.register(lambda: print([one.name for one in threading.enumerate()]));"
        f"from {__name__} import Chain; Chain().run(7, 3); print(len(threading.enumerate()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split("\n")[:2] == ["3", "['MainThread']"]
