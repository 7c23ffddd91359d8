"""Threads that share the tiles of a program.

A program is a list of operations, each cut into tiles that may be done in any order. Every thread takes the next tile
that nobody has taken, and goes on to the next operation when all tiles of this one are done. So nobody waits for a
thread that has not come, as OpenMP's barriers do; only for one that loses its processor in the middle of a tile.
"""

import atexit
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from descant.compiled.code import I32, I64, POINTER, Code, Target, Word
from descant.compiled.library import compiled_library

SPINS = 500
"""How often a thread looks whether the others are done before it offers its processor to other work."""

COUNTER_WORDS = 16
"""Each operation's two counters are in cache lines of their own."""

EPOCH_BITS = 32


class JobWord(Word):
    """The 64-bit words of a job."""

    NUM_OPERATIONS = 0
    OPERATIONS = 1
    STATE = 2
    COUNTERS = 3
    YIELD = 4
    NUM_WORDS = 5


class OperationWord(Word):
    """The 64-bit words of an operation. It has ``TILES`` tiles, and ``TILES_PER_TOKEN`` more for every token."""

    FUNCTION = 0
    WORDS = 1
    TILES = 2
    TILES_PER_TOKEN = 3
    NUM_WORDS = 4


class Operation(NamedTuple):
    """A function that is called with its words, the state of the job, and the number of each of its tiles."""

    function: int
    words: np.ndarray
    tiles: int = 0
    tiles_per_token: int = 0


class Job:
    """A program with the state that it runs on, for one caller at a time.

    Args:
        state: word 0 is the number of tokens; the functions of the operations read the others.
        kept: what else must stay in memory as long as the job.
    """

    def __init__(self, operations: Sequence[Operation], state: np.ndarray, kept: object) -> None:
        self._state, self._kept = state, (operations, kept)
        # In the order of OperationWord.
        table = [(one.function, one.words.ctypes.data, one.tiles, one.tiles_per_token) for one in operations]
        self._operations = np.array(table, np.int64)
        self._counters = np.zeros((len(operations), COUNTER_WORDS), np.int64)
        self._words = np.zeros(JobWord.NUM_WORDS, np.int64)
        self._words[JobWord.OPERATIONS] = self._operations.ctypes.data
        self._words[JobWord.STATE] = state.ctypes.data
        self._words[JobWord.COUNTERS] = self._counters.ctypes.data
        self._words[JobWord.YIELD] = _yield_address()
        self._epoch = 0

    def run(self, num_tokens: int, num_threads: int, num_operations: int | None = None) -> None:
        """Runs the program, or its first operations, for tokens 0 to ``num_tokens`` of the state."""
        self._state[0] = num_tokens
        self._epoch += 1
        self._words[JobWord.NUM_OPERATIONS] = len(self._operations) if num_operations is None else num_operations
        # A thread that is still at an earlier run finds another epoch in the counters, and leaves.
        self._counters[:num_operations] = self._epoch << EPOCH_BITS
        if num_threads > 1:
            _team().call(Run(self, self._epoch, num_tokens), num_threads - 1)
        self.work(self._epoch, num_tokens)

    def work(self, epoch: int, num_tokens: int) -> None:
        """Takes part in a run until all its tiles are done.

        Args:
            num_tokens: of this run. The state may have another number already, that of the next one.
        """
        _run_function()(self._words.ctypes.data, epoch, num_tokens)


class Run(NamedTuple):
    """One run of a job."""

    job: Job
    epoch: int
    num_tokens: int


class Team:
    """Threads that wait for jobs to take part in. Python must not wait for them at its end, so they are daemons; they
    are ended before it takes down what they run in (`_team`)."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Run | None]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def call(self, run: Run, num_helpers: int) -> None:
        """Asks a number of threads to take part in a run."""
        with self._lock:
            while len(self._queues) < num_helpers:
                queue: SimpleQueue[Run | None] = SimpleQueue()
                self._queues.append(queue)
                thread = threading.Thread(target=_serve, args=(queue,), name="descant-worker", daemon=True)
                self._threads.append(thread)
                thread.start()
        for queue in self._queues[:num_helpers]:
            queue.put(run)

    def close(self) -> None:
        """Ends the threads, after the runs that they were asked to take part in."""
        for queue in self._queues:
            queue.put(None)
        for thread in self._threads:
            thread.join()


def _serve(queue: "SimpleQueue[Run | None]") -> None:
    while (run := queue.get()) is not None:
        run.job.work(run.epoch, run.num_tokens)
        del run  # and with it the job's memory, while nothing else comes


_TEAMS: dict[int, Team] = {}


def _team() -> Team:
    """The threads of this process: a forked one has none of its parent's."""
    return _TEAMS.setdefault(os.getpid(), Team())


@atexit.register
def _close_team() -> None:
    team = _TEAMS.pop(os.getpid(), None)
    if team is not None:
        team.close()


@cache
def _run_function() -> Callable[..., None]:
    return compiled_library(Target.host(), _add_run).function("run", 3)


@cache
def _yield_address() -> int:
    """The operating system's function that offers the processor to other threads."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def _add_run(module: ir.Module) -> None:
    """``run(job, epoch, number of tokens)``: does tiles of a job until all are done, or another epoch has begun."""
    code = Code(module, "run", [POINTER, I64, I64])
    job, epoch, num_tokens = code.function.args
    state, counters = code.pointer_at(job, JobWord.STATE), code.pointer_at(job, JobWord.COUNTERS)
    operations = code.pointer_at(job, JobWord.OPERATIONS)
    num_operations = code.read(job, I64(JobWord.NUM_OPERATIONS), I64)
    leave = code.append_basic_block("leave")
    with code.for_range(I64(0), num_operations) as index:
        row = code.mul(index, I64(OperationWord.NUM_WORDS))
        function, words, tiles, per_token = (
            code.read(operations, code.add(row, I64(word)), I64) for word in list(OperationWord)[:4]
        )
        num_tiles = code.add(tiles, code.mul(per_token, num_tokens))
        next_tile = code.address(counters, code.mul(index, I64(COUNTER_WORDS)), I64)
        done = code.gep(next_tile, [I64(COUNTER_WORDS // 2)])
        _do_tiles(code, function, words, state, num_tiles, next_tile, done, epoch, leave)
        _wait(code, job, num_tiles, done, epoch, leave)
    code.branch(leave)
    code.position_at_end(leave)
    code.ret_void()


def _do_tiles(
    code: Code,
    function: ir.Value,
    words: ir.Value,
    state: ir.Value,
    num_tiles: ir.Value,
    next_tile: ir.Value,
    done: ir.Value,
    epoch: ir.Value,
    leave: ir.Block,
) -> None:
    """Takes tiles while there are any."""
    look, check, take, work, finished = (
        code.append_basic_block(name) for name in ("look", "check", "take", "work", "finished")
    )
    code.branch(look)
    code.position_at_end(look)
    seen = code.load_atomic(next_tile, "acquire", 8)
    code.cbranch(_is_epoch(code, seen, epoch), check, leave)
    code.position_at_end(check)
    tile = code.and_(seen, I64((1 << EPOCH_BITS) - 1))
    code.cbranch(code.icmp_signed("<", tile, num_tiles), take, finished)
    code.position_at_end(take)
    exchanged = code.cmpxchg(next_tile, seen, code.add(seen, I64(1)), "acq_rel", "acquire")
    code.cbranch(code.extract_value(exchanged, 1), work, look)
    code.position_at_end(work)
    signature = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64])
    code.call(code.inttoptr(function, signature.as_pointer()), [code.inttoptr(words, POINTER), state, tile])
    code.atomic_rmw("add", done, I64(1), "acq_rel")
    code.branch(look)
    code.position_at_end(finished)


def _wait(code: Code, job: ir.Value, num_tiles: ir.Value, done: ir.Value, epoch: ir.Value, leave: ir.Block) -> None:
    """Waits until the tiles that others have taken are done."""
    look, check, spin, offer, finished = (
        code.append_basic_block(name) for name in ("look", "check", "spin", "offer", "finished")
    )
    spins = code.variable(I64(0))
    code.store(I64(0), spins)
    code.branch(look)
    code.position_at_end(look)
    seen = code.load_atomic(done, "acquire", 8)
    code.cbranch(_is_epoch(code, seen, epoch), check, leave)
    code.position_at_end(check)
    is_done = code.icmp_signed("==", code.and_(seen, I64((1 << EPOCH_BITS) - 1)), num_tiles)
    code.cbranch(is_done, finished, spin)
    code.position_at_end(spin)
    code.store(code.add(code.load(spins), I64(1)), spins)
    code.cbranch(code.icmp_signed("<", code.load(spins), I64(SPINS)), look, offer)
    code.position_at_end(offer)
    signature = ir.FunctionType(I32, [])
    code.call(code.inttoptr(code.read(job, I64(JobWord.YIELD), I64), signature.as_pointer()), [])
    code.branch(look)
    code.position_at_end(finished)


def _is_epoch(code: Code, counter: ir.Value, epoch: ir.Value) -> ir.Value:
    return code.icmp_signed("==", code.ashr(counter, I64(EPOCH_BITS)), epoch)
