"""PyTorch's settings as this package needs them, so that a request gives the same codes whatever its caller has set."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside the context: float32 and the CPU as defaults, no autocast, no gradients, and no inference mode.

    Tensors made inside may be trained on, even if the caller is in inference mode. All settings but the default dtype
    belong to the thread. PyTorch has one default dtype for the whole process: while any thread is inside, it is float32
    for all of them. Decorate functions with it, not generators, which would keep the settings between their values.
    """
    with ExitStack() as stack:
        stack.enter_context(_DTYPE.held())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(np.errstate(all="ignore"))
        yield


class _DefaultDtype:
    """Float32 as the default while any thread is inside; the last to leave restores the setting from outside.

    Another thread may set the default meanwhile: the next to enter makes it float32 again and remembers that setting,
    and the last to leave keeps one that was set since.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._outer = torch.float32

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            found = torch.get_default_dtype()
            if self._inside == 0 or found != torch.float32:
                self._outer = found
            if found != torch.float32:
                torch.set_default_dtype(torch.float32)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and torch.get_default_dtype() == torch.float32 != self._outer:
                    torch.set_default_dtype(self._outer)


_DTYPE = _DefaultDtype()


def in_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The function, computed without torch's other threads, so that its result has the same bits with any number of
    them. A matrix product of few rows is split among threads, and fewer rows may be multiplied in another order.

    Torch's threads are a setting of the thread that calls it, so the function may run in a thread of its own.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.get_num_threads() == 1:
            return function(*args, **kwargs)
        with one_thread_executor("descant-one") as thread:
            return thread.submit(own_settings()(function), *args, **kwargs).result()

    return run


def one_thread_executor(name: str) -> ThreadPoolExecutor:
    """Runs what is submitted one after another in a thread in which torch uses no others."""
    num_threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(1, name)
    executor.submit(_use_one_thread).result()
    # Torch lets all threads that begin later have the number that was set last, in whatever thread that was.
    torch.set_num_threads(num_threads)
    return executor


def _use_one_thread() -> None:
    torch.get_num_threads()  # torch configures a thread when it is first asked: afterwards its number stays
    torch.set_num_threads(1)
