"""Penalties on toys whose gradient is known by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.losses.regularizers import (
    PENALTIES,
    deviation,
    interpolate,
    path_length_penalty,
    path_lengths,
    penalties,
    squared_norm,
)

SHAPE = (3, 2, 2, 2)
A = np.arange(8.0).reshape(SHAPE[1:]) - 3  # slope of the linear critic; squared norm 44
X = np.random.default_rng(0).standard_normal(SHAPE)


def linear(x):
    return jnp.sum(x * jnp.asarray(A)[None], axis=(1, 2, 3))[:, None] + 5


def norms(logits, image):
    """Return the squared norms for a function that returns logits alone."""
    return squared_norm(lambda x: (logits(x), {}), image)[0]


def between(logits, real, fake, mix, target=1.0):
    """Return the deviations of the norms between two sets of images."""
    return deviation(norms(logits, interpolate(real, fake, mix)), target=target)


def test_r1_of_a_linear_critic_is_its_squared_slope():
    penalty, logits, more = squared_norm(lambda x: (linear(x), {"d": x + 1}), jnp.asarray(X))
    np.testing.assert_allclose(more["d"], X + 1, rtol=1e-6)
    np.testing.assert_allclose(penalty, np.full(3, np.sum(A**2)), rtol=1e-6)
    np.testing.assert_allclose(logits[:, 0], np.sum(X * A, axis=(1, 2, 3)) + 5, rtol=1e-5)


def test_r1_sums_heads_before_it_squares():
    two = lambda x: jnp.concatenate([linear(x), 2 * linear(x)], axis=1)
    np.testing.assert_allclose(norms(two, jnp.asarray(X)), np.full(3, 9 * np.sum(A**2)), rtol=1e-6)


def test_r1_of_a_quadratic_critic_and_its_gradient_by_the_weight():
    quadratic = lambda a: lambda x: a / 2 * jnp.sum(x**2, axis=(1, 2, 3))[:, None]  # gradient a x
    squares = np.sum(X**2, axis=(1, 2, 3))
    value, slope = jax.value_and_grad(lambda a: norms(quadratic(a), jnp.asarray(X)).sum())(3.0)
    assert float(value) == pytest.approx(9 * squares.sum(), rel=1e-5)
    assert float(slope) == pytest.approx(2 * 3 * squares.sum(), rel=1e-5)


def test_penalties_of_clips_are_sums_over_a_frame_averaged_over_frames():
    """Of t frames seen alike, the penalty is that of one: weights need no change with the length of a clip."""
    frames = np.arange(1.0, 4)
    clip = np.random.default_rng(2).standard_normal((2, 3, *SHAPE[1:]))
    critic = lambda x: jnp.einsum("nthwc,hwc,t->n", x, jnp.asarray(A), jnp.asarray(frames))[:, None]
    got = norms(critic, jnp.asarray(clip))
    np.testing.assert_allclose(got, np.full(2, np.sum(A**2) * np.mean(frames**2)), rtol=1e-6)
    same = lambda x: jnp.einsum("nthwc,hwc->n", x, jnp.asarray(A))[:, None]
    np.testing.assert_allclose(norms(same, jnp.asarray(clip)), norms(linear, jnp.asarray(clip[:, 0])), rtol=1e-6)


def test_the_table_of_penalties():
    assert penalties("none") == ()
    r1, r2 = penalties("r1+r2")
    assert (r1.where, r2.where) == ("real", "fake")
    assert all((p.kind, p.weight, p.scale) == ("gradient", "r1_gamma", 0.5) for p in (r1, r2))
    assert penalties("r1") == (r1,) and penalties("r2+r1") == (r2, r1)
    assert penalties("wgan_gp") == (PENALTIES["wgan_gp"],) and PENALTIES["wgan_gp"][:] == (
        "deviation",
        "mix",
        "gp_weight",
        1,
    )


@pytest.mark.parametrize("target", [1.0, 2.0])
def test_gradient_penalty_of_a_linear_critic(target):
    penalty = between(linear, jnp.asarray(X), jnp.asarray(-X), jnp.array([0.1, 0.5, 0.8]), target)
    want = (np.sqrt(np.sum(A**2)) - target) ** 2 / target**2
    np.testing.assert_allclose(penalty, np.full(3, want), rtol=1e-5)


def test_gradient_penalty_is_taken_between_the_pair_with_one_weight_each():
    seen = []

    def critic(x):
        seen.append(jax.lax.stop_gradient(x))
        return jnp.sum(x**2, axis=(1, 2, 3))[:, None] / 2  # gradient x

    real, fake, mix = jnp.zeros((4, 2, 2, 1)), jnp.full((4, 2, 2, 1), 1.0), np.array([0.0, 0.25, 0.5, 1.0])
    penalty = jax.jit(lambda r, f, m: between(critic, r, f, m))(real, fake, mix.astype(np.float32))
    assert len(seen) == 1
    np.testing.assert_allclose(penalty, (2 * mix - 1) ** 2, rtol=1e-4, atol=1e-6)


def test_clips_are_interpolated_with_one_weight_each():
    real, fake, mix = jnp.zeros((2, 3, 2, 2, 1)), jnp.ones((2, 3, 2, 2, 1)), jnp.array([0.25, 1.0])
    np.testing.assert_array_equal(interpolate(real, fake, mix)[:, 1, 1, 0, 0], mix)
    np.testing.assert_array_equal(interpolate(real, fake, mix)[0], jnp.full((3, 2, 2, 1), 0.25))


def test_gradient_penalty_of_a_flat_critic_has_a_finite_gradient():
    flat = lambda a: lambda x: a * linear(x)
    of = lambda a: between(flat(a), jnp.asarray(X), jnp.asarray(X), jnp.zeros(3)).mean()
    value, slope = jax.value_and_grad(of)(0.0)
    assert float(value) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(float(slope))


def test_path_lengths_of_a_linear_generator():
    rng = np.random.default_rng(1)
    n, slots, width, image = 3, 4, 5, (2, 6, 2)
    matrix = rng.standard_normal((slots, width, *image))  # image = sum over slots and width of ws * matrix
    ws, noise = rng.standard_normal((n, slots, width)), rng.standard_normal((n, *image))
    synthesize = lambda w: jnp.einsum("nld,ldhwc->nhwc", w, jnp.asarray(matrix))
    jacobian_product = np.einsum("nhwc,ldhwc->nld", noise / np.sqrt(2 * 6), matrix)
    want = np.sqrt(np.mean(np.sum(jacobian_product**2, axis=2), axis=1))
    got = path_lengths(synthesize, jnp.asarray(ws), jnp.asarray(noise))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(path_lengths(synthesize, jnp.asarray(-2 * ws), jnp.asarray(noise)), want, rtol=1e-5)


def test_path_lengths_of_clips_divide_by_the_size_of_a_frame():
    rng = np.random.default_rng(1)
    clip = (3, 2, 6, 2)
    matrix, ws, noise = (rng.standard_normal(shape) for shape in ((4, 5, *clip), (2, 4, 5), (2, *clip)))
    synthesize = lambda w: jnp.einsum("nld,ldthwc->nthwc", w, jnp.asarray(matrix))
    product = np.einsum("nthwc,ldthwc->nld", noise / np.sqrt(2 * 6), matrix)
    want = np.sqrt(np.mean(np.sum(product**2, axis=2), axis=1))
    np.testing.assert_allclose(path_lengths(synthesize, jnp.asarray(ws), jnp.asarray(noise)), want, rtol=1e-5)


def test_path_lengths_grow_with_the_generator():
    synthesize = lambda a: lambda w: a * w.reshape(2, 2, 3, 1)
    noise = jnp.ones((2, 2, 3, 1))
    total = lambda a: path_lengths(synthesize(a), jnp.ones((2, 2, 3)), noise).sum()
    # each of 2 images: gradient a / sqrt(6) everywhere, so sqrt(mean over 2 slots of 3 a^2 / 6) = a / sqrt(2)
    value, slope = jax.value_and_grad(total)(4.0)
    assert float(value) == pytest.approx(8 / np.sqrt(2), rel=1e-6)
    assert float(slope) == pytest.approx(2 / np.sqrt(2), rel=1e-6)


def test_path_length_penalty_updates_the_mean_first():
    penalty, mean = path_length_penalty(jnp.array([1.0, 3.0]), jnp.array(0.0), 0.5)
    assert float(mean) == 1.0
    np.testing.assert_allclose(penalty, [0, 4])


def test_path_length_gradient_passes_through_the_decayed_part_of_the_mean():
    total = lambda lengths, mean: path_length_penalty(lengths, mean, 0.5)[0].sum()
    by_lengths, by_mean = jax.grad(total, argnums=(0, 1))(jnp.array([1.0, 3.0]), jnp.array(0.0))
    # direct part 2 (length - 1) = [0, 4]; through the mean: -(0 + 4) * decay / 2 = -1 each;
    # by the old mean -4 (1 - decay)
    np.testing.assert_allclose(by_lengths, [-1, 3])
    assert float(by_mean) == -2
