"""Key derivation: distinct streams, the same numbers for the same names."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import rng

ROOT = rng.root(3)


def data(key):
    return np.asarray(jax.random.key_data(key))


def test_same_name_and_step_give_the_same_key():
    assert np.array_equal(data(rng.stream(rng.root(3), "g_main", 7)), data(rng.stream(ROOT, "g_main", 7)))


def test_streams_differ_by_seed_name_and_every_step():
    keys = [
        rng.stream(ROOT, "g_main"),
        rng.stream(rng.root(4), "g_main"),
        *(rng.stream(ROOT, name, step) for name in ("g_main", "g_reg", "d_main", "d_reg") for step in range(3)),
        rng.stream(ROOT, "g_main", 0, 1),
        rng.stream(ROOT, "g_main", 1, 0),
    ]
    for a, b in itertools.combinations(keys, 2):
        assert not np.array_equal(data(a), data(b))


def test_traced_and_python_steps_agree():
    traced = jax.jit(lambda step: jax.random.key_data(rng.stream(ROOT, "g_main", step)))(jnp.int32(5))
    assert np.array_equal(traced, data(rng.stream(ROOT, "g_main", 5)))


def test_keys_are_typed_scalars():
    key = rng.stream(ROOT, "x", 1)
    assert key.shape == ()
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def test_per_example_keys_follow_the_example_and_not_the_batch():
    index = jnp.array([4, 0, 9, 2], jnp.int32)
    keys = data(rng.per_example(ROOT, index))
    assert len(np.unique(keys, axis=0)) == 4
    for i, example in enumerate(index):
        assert np.array_equal(keys[i], data(rng.per_example(ROOT, example[None]))[0])
    assert np.array_equal(keys[::-1], data(rng.per_example(ROOT, index[::-1])))
