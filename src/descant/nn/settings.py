"""PyTorch as this package needs it, whatever its caller has set: the same request gives the same codes everywhere."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def own_settings() -> Iterator[None]:
    """Inside: float32 and the CPU where nothing else is named, no autocast, no gradients, and ordinary tensors.

    What is made inside may be trained on, even where the caller is in inference mode. Everything but the default dtype
    belongs to the thread. PyTorch keeps that for the whole process: while any thread is inside, it is float32 for all
    of them. As a decorator it is for functions, not for generators, which would keep it between their values.
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
    """Float32 as the default while anyone is inside; the last to leave brings back what was set outside.

    Another thread may set the default meanwhile: whoever enters next makes it float32 again and remembers that setting,
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
