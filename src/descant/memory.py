"""Memory that was freed goes back to the system."""

import ctypes
import sys


def return_freed() -> None:
    """Gives the system back what this process has freed.

    GNU's allocator keeps freed tensors of up to 32 MB for later ones: after a model is loaded, as much as was read. On
    other systems nothing happens.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
