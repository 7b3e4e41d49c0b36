"""How this process treats memory that a training step has freed."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MIB = 2**20


def keep_freed_memory() -> None:
    """Let the C library keep freed memory instead of giving it back after each step.

    A step frees and takes the same large blocks again, and each return trip to the operating
    system costs page faults: with glibc's defaults about a fifth of a step of a small network on
    a CPU, with what Dask sets for its workers more than half. Elsewhere than on glibc nothing is
    done.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, 1024 * _MIB)
        library.mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)  # the largest that glibc allows
