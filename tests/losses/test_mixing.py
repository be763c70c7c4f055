"""Style mixing: which slots come from which latent, and how often."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.losses.mixing import mix_styles

N, SLOTS, DRAWS = 3, 5, 2000
WS = np.zeros((N, SLOTS, 2), np.float32)
OTHER = np.ones((N, SLOTS, 2), np.float32)


@functools.cache
def cutoffs(prob):
    """Return the number of own slots of each draw, after checking that every image and width shares it."""
    keys = jax.random.split(jax.random.key(0), DRAWS)
    mixed = np.asarray(jax.jit(jax.vmap(lambda k: mix_styles(k, jnp.asarray(WS), jnp.asarray(OTHER), prob)))(keys))
    assert np.all(mixed == mixed[:, :1, :, :1])
    own = mixed[:, 0, :, 0] == 0
    assert np.all(own[:, :-1] >= own[:, 1:])  # own slots first
    return own.sum(axis=1)


def test_probability_zero_changes_nothing():
    assert np.all(cutoffs(0.0) == SLOTS)


def test_probability_one_always_mixes_uniformly_over_the_inner_slots():
    counts = np.bincount(cutoffs(1.0), minlength=SLOTS + 1)
    assert counts[0] == 0  # the first slot is always one's own
    assert counts[SLOTS] == 0
    share, spread = 1 / (SLOTS - 1), np.sqrt(DRAWS * 0.25 * 0.75)
    np.testing.assert_allclose(counts[1:SLOTS], DRAWS * share, atol=4 * spread)


def test_probability_is_the_share_of_mixed_batches():
    mixed = np.sum(cutoffs(0.9) < SLOTS)
    assert mixed == pytest.approx(0.9 * DRAWS, abs=4 * np.sqrt(DRAWS * 0.9 * 0.1))


def test_slots_keep_their_place():
    ws = jnp.arange(10.0).reshape(1, 5, 2)
    mixed = np.asarray(mix_styles(jax.random.key(3), ws, 100 + ws, 1.0))
    assert set(np.unique(mixed - np.asarray(ws))) == {0.0, 100.0}
