"""PyTorch's settings as this package needs them, so that a request gives the same codes whatever its caller has set."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


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
