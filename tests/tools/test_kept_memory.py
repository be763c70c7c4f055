"""Freed memory stays with the process, whichever thread allocates; else every step would fault it in again."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, threading
from stylegan_jax.tools._command_line import keep_freed_memory
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    for _ in range(3):
        before, size = faults(), 100 << 20
        block = libc.malloc(size)
        ctypes.memset(block, 1, size)
        libc.free(block)
        counts.append(faults() - before)
if {kept}:
    keep_freed_memory()
counts = []
thread = threading.Thread(target=use)
thread.start()
thread.join()
print(*counts)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
@pytest.mark.parametrize("kept", [False, True])
def test_a_thread_reuses_freed_memory(kept: bool):
    """100 MiB are 25,600 pages, or 50 if the system uses large ones: without the options, each time anew."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(kept=kept)], capture_output=True, text=True, check=True)
    first, *later = map(int, done.stdout.split())
    assert first >= 50
    assert all(faults < 20 for faults in later) if kept else min(later) >= 50
