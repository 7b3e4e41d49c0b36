"""What this machine gives a run: memory of the process, and the number format of its networks."""

import ctypes
import re
import sys
from pathlib import Path
from typing import Any, Literal

import psutil

from minseg.errors import MinsegError

Precision = Literal["bf16-mixed", "32-true"]
"""A number format that a network can compute in."""

_BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names under which torch lists what a processor of x86 or ARM multiplies bfloat16 with."""

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


def fabric_devices(device: str, number: int) -> dict[str, Any]:
    """Return how Fabric is asked for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; refuse others."""
    import torch  # measuring memory needs none

    cards = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    here = ["auto", "cpu", *(["cuda", *cards] if cards else [])]
    here += ["mps"] if torch.backends.mps.is_available() else []
    if device not in here:
        raise MinsegError(f"device {device!r} is not on this machine; use {' or '.join(here)}")
    kind, one, index = device.partition(":")
    if one and number > 1:
        raise MinsegError(f"device {device!r} is one and not {number}; use {kind} for several")
    return {"accelerator": kind, "devices": [int(index)] if one else number}


def resolve_precision(precision: Precision | Literal["auto"], device: str = "auto") -> Precision:
    """Return the format that a setting stands for on a device, by default the fastest here.

    Processors without instructions for bfloat16 emulate it, and take half as long again as with
    float32; those with them, and graphics cards, are two to six times faster in it.
    """
    if precision != "auto":
        return precision
    import torch

    if device != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in _BFLOAT16_INSTRUCTIONS)
    return "bf16-mixed" if native else "32-true"
