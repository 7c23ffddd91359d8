"""Memory that was freed goes back to the system, and Python looks for garbage when there may be some."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """For imports, which make hundreds of thousands of objects and no garbage: Python would look through all of them
    again and again, a fifth of the time that importing torch takes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Moves all objects to the oldest generation, without looking at them. What the caller froze stays frozen.
        if gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def return_freed() -> None:
    """Gives the system back what this process has freed.

    GNU's allocator keeps freed tensors of up to 32 MB for later ones: after a model is loaded, as much as was read. On
    other systems nothing happens.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
