"""Minibatch standard deviation and second-moment normalisation."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.ops.norm import minibatch_std, second_moment_normalize

from . import references


@pytest.mark.parametrize(("group", "channels"), [(4, 1), (2, 2), (1, 1), (8, 3), (None, 1), (100, 2)])
def test_minibatch_std_appends_the_mean_deviation_of_each_group(group, channels, draw):
    x = draw((8, 3, 2, 6))
    got = jax.jit(functools.partial(minibatch_std, group_size=group, num_channels=channels))(x)
    np.testing.assert_allclose(got, references.minibatch_std(x, min(group or 8, 8), channels), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_micro_batches_of_every_other_row_have_the_groups_of_the_whole(group, draw):
    """What gradient accumulation relies on: rows of a group are n / group apart."""
    x = jnp.asarray(draw((8, 3, 2, 6)))
    got = minibatch_std(x, group)
    for part in range(2):
        np.testing.assert_allclose(minibatch_std(x[part::2], group), got[part::2], rtol=1e-12, atol=1e-12)


def test_equal_images_have_a_finite_gradient():
    x = jnp.ones((4, 2, 2, 3))
    grads = jax.jit(jax.grad(lambda v: jnp.sum(minibatch_std(v, 4))))(x)
    np.testing.assert_allclose(grads, 1.0)  # the deviation itself has slope 0 there


def test_a_group_that_does_not_divide_the_batch_is_an_error():
    with pytest.raises(ValueError, match="batch 6 is not divisible by the minibatch-stddev group 4"):
        minibatch_std(jnp.zeros((6, 2, 2, 1)), 4)


def test_statistics_keep_the_dtype_of_the_input(draw):
    assert minibatch_std(jnp.asarray(draw((2, 2, 2, 2)), jnp.bfloat16), 2).dtype == jnp.bfloat16


def test_second_moment_normalize(draw):
    x = draw((3, 5))
    want = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(second_moment_normalize(jnp.asarray(x)), want, rtol=1e-12)
    assert np.all(np.asarray(second_moment_normalize(jnp.zeros((2, 4)))) == 0)
    grads = jax.grad(lambda v: jnp.sum(second_moment_normalize(v)))(jnp.zeros((2, 4)))
    assert np.all(np.isfinite(grads))
