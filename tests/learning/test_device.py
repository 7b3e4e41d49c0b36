import subprocess
import sys

import pytest
import torch

from minseg.learning.device import resolve_precision

PROGRAM = """
import ctypes, resource
from minseg.learning.device import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
{call}
def take_and_free():
    block = libc.malloc(8 * 2**20)
    libc.memset(block, 1, 8 * 2**20)
    libc.free(block)
for _ in range(4):
    take_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_freed_memory_is_used_again_without_page_faults():
    def faults(call):
        program = PROGRAM.format(call=call)
        # What Dask sets for its workers.
        environment = {"MALLOC_TRIM_THRESHOLD_": "65536"}
        command = [sys.executable, "-c", program]
        return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

    assert faults("") > 1000  # as the worker comes: 2048 pages a block of 8 MiB
    assert faults("keep_freed_memory()") < 100


def test_peak_is_this_process_s_own_and_not_its_parent_s():
    parent = bytearray(600 * 2**20)
    parent[::4096] = b"x" * len(parent[::4096])  # resident
    program = (
        "from minseg.learning.device import peak_memory_mib as peak; before = peak();"
        "block = bytearray(200 * 2**20); block[::4096] = b'x' * len(block[::4096]);"
        "print(before, peak())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    before, after = map(int, done.stdout.split())
    assert len(parent) / 2**20 > 1.5 * before  # the import alone takes less than the parent has
    assert after - before == pytest.approx(200, abs=20)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks the processor only without a GPU")
@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx512_f": True, "avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({"architecture": "aarch64", "bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ],
)
def test_automatic_precision_follows_the_processor(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto") == expected
    assert resolve_precision("bf16-mixed") == "bf16-mixed"
    assert resolve_precision("32-true") == "32-true"
