"""The only place where random keys are derived.

A key is a pure function of (root seed, stream name, step, …), so that resuming needs no saved key and the same step of
the same run always draws the same numbers, on any number of devices (design decision 2).
"""

from __future__ import annotations

import zlib

import jax

from stylegan_jax.base import backend


def root(seed: int) -> jax.Array:
    """Return the run's root key (typed, scalar) for an integer seed."""
    return jax.random.key(seed)


def stream(root_key: jax.Array, name: str, *steps: int | jax.Array) -> jax.Array:
    """Return the key of the named stream at the given step numbers.

    Args:
        root_key: typed key, from `root`.
        name: stream name, such as 'g_main'; two names never share a key (CRC-32 of the name is folded in).
        *steps: non-negative integers, Python or traced int32, folded in one after the other.
    """
    key = jax.random.fold_in(root_key, zlib.crc32(name.encode()))
    for step in steps:
        key = jax.random.fold_in(key, step)
    return key


def per_example(key: jax.Array, index: jax.Array) -> jax.Array:
    """Return one key per example, [n], from a key and int32 example numbers [n].

    An example's number decides its key, so what it draws does not depend on its batch.
    """
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return unit normals float32[shape] from one key, or from [shape[0]] keys so that each row is its own.

    Otherwise XLA on CPU would repeat the long formula of the inverse error function wherever the array is read, which
    is a third of the compile time of a program with noise.
    """
    draw = jax.vmap(lambda k: jax.random.normal(k, shape[1:])) if key.ndim else lambda k: jax.random.normal(k, shape)
    x = draw(key)
    return jax.lax.optimization_barrier(x) if backend.platform() == "cpu" else x
