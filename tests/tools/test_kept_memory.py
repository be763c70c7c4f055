"""Freed memory stays with the process; else every step would fault the temporaries of its program in again."""

import os
import platform
import statistics
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from stylegan_jax.tools._command_line import keep_freed_memory
keep_freed_memory()
import jax, jax.numpy as jnp
squares = lambda x: jax.lax.fori_loop(0, 2, lambda _, y: y[::-1] * y, x)[0]
step = jax.jit(lambda: squares(jnp.arange(25 << 20, dtype=jnp.float32)).max())
assert step.lower().compile().memory_analysis().temp_size_in_bytes >= 100 << 20
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step().block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
@pytest.mark.parametrize("kept", [False, True])
def test_a_program_reuses_the_memory_of_its_last_call(kept: bool):
    """100 MiB are 25,600 pages, or 50 if the system uses large ones: of a thread of XLA's, each time anew.

    The first calls may fault more in, until small allocations no longer lie between the large ones.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_CPU_ENABLE_ASYNC_DISPATCH", "XLA_FLAGS")}
    if not kept:
        environment["JAX_CPU_ENABLE_ASYNC_DISPATCH"] = "1"
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    first, *later = map(int, done.stdout.split())
    assert first >= 50
    assert statistics.median(later[-5:]) < 20 if kept else min(later) >= 50
