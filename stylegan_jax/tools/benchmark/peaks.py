"""The machine's measured peaks: the rates of a matrix product and of copying.

Fractions of these peaks show how far a program is from the easiest programs of the same compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.tools.benchmark.timing import time_in_turn

SIZES = (512, 1024, 2048, 4096, 8192, 16384)
COPY_BYTES = 2**28
SLOW_SECONDS = 0.1  # a product that takes this long saturates the machine, so larger ones are not tried


def measure(device: Any, dtype: jnp.dtype, free: int | None) -> dict[str, Any]:
    """Return the peaks of one device.

    Args:
        device: where to measure.
        dtype: of the matrix product.
        free: bytes that may be used; None: unknown.

    Returns:
        'dtype', 'matmul_flops' (per second) and 'matmul_size' n of the fastest [n, n] @ [n, n]; 'copy_bytes' (per
        second, read plus written) and 'copy_size', the bytes of the array that was copied.
    """
    best = (0.0, 0)
    for n in SIZES:
        if free is not None and 4 * n * n * dtype.itemsize > free:
            break
        seconds = matmul_seconds(device, dtype, n)
        best = max(best, (2 * n**3 / seconds, n))
        if seconds > SLOW_SECONDS:
            break
    size = COPY_BYTES if free is None else min(COPY_BYTES, free // 8)
    return {
        "dtype": dtype.name,
        "matmul_flops": best[0],
        "matmul_size": best[1],
        "copy_bytes": 2 * size / copy_seconds(device, size),
        "copy_size": size,
    }


def matmul_seconds(device: Any, dtype: jnp.dtype, n: int) -> float:
    """Return the shortest time of one product of n x n matrices, in seconds."""
    with jax.default_device(device):
        a, x = jax.random.normal(jax.random.key(0), (2, n, n), jnp.float32).astype(dtype)
        a = a * jnp.asarray(n**-0.5, dtype)  # keeps the size of x over many products
        product = jax.jit(jnp.matmul, donate_argnums=1)
        return best_seconds(lambda x: product(a, x), x)


def copy_seconds(device: Any, size: int) -> float:
    """Return the shortest time to read and write an array of `size` bytes once, in place, in seconds."""
    with jax.default_device(device):
        copy = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place, so the system need not map new pages
        return best_seconds(copy, jnp.zeros([size // 4], jnp.float32))


def best_seconds(call: Callable[[jax.Array], jax.Array], value: jax.Array) -> float:
    """Return the shortest of three repeats, in seconds."""
    times, _ = time_in_turn({"": call}, value, repeats=3)
    return min(times[""][0])
