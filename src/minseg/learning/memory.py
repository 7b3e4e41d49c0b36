"""Memory of this process: how much it took at most, and what becomes of what a step frees."""

import ctypes
import re
import sys
from pathlib import Path

import psutil

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MIB = 2**20


def peak_memory_mib() -> int:
    """Return the largest resident memory of this process so far, MiB."""
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / _MIB)
    if sys.platform == "linux":
        # What getrusage tells here starts with the peak of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        if peak:  # some containers hide it
            return int(peak[1]) // 1024
    import resource  # not on Windows

    peak_units = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak_units / (_MIB if sys.platform == "darwin" else 2**10))


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
