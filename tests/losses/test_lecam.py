"""LeCam regularisation against the formula of the paper in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.losses import lecam

DECAY = 0.9


def batches(steps: int, n: int = 4, heads: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logits (fake, real) float64[n, heads] of some steps."""
    draw = np.random.default_rng(0)
    return [(draw.normal(-1, 2, (n, heads)), draw.normal(3, 1, (n, heads))) for _ in range(steps)]


def averages(seen: list[np.ndarray]) -> np.ndarray:
    """Return the mean of logits float64[n, heads] of several steps, the newest with weight 1, the one before 0.9, …."""
    weights = DECAY ** np.arange(len(seen))[::-1]
    return np.einsum("s,snk->k", weights, np.stack(seen)) / (weights.sum() * seen[0].shape[0])


def test_anchors_are_weighted_means_of_the_logits_so_far():
    anchors, seen = lecam.init(3), batches(7)
    for fake, real in seen:
        anchors = lecam.move(anchors, jnp.asarray(fake), jnp.asarray(real), DECAY)
    alpha_r, alpha_f = lecam.means(anchors)
    np.testing.assert_allclose(alpha_f, averages([fake for fake, _ in seen]), rtol=1e-6)
    np.testing.assert_allclose(alpha_r, averages([real for _, real in seen]), rtol=1e-6)
    assert np.abs(np.subtract(alpha_r, alpha_f)).min() > 2  # two sides that are not the same


def test_the_penalty_is_the_squared_distance_to_the_other_side():
    anchors = lecam.init(3)
    (fake, real), *rest = batches(4)
    assert not np.any(lecam.penalty(anchors, jnp.asarray(fake), jnp.asarray(real)))  # nothing has been seen
    for a, b in rest:
        anchors = lecam.move(anchors, jnp.asarray(a), jnp.asarray(b), DECAY)
    alpha_f, alpha_r = averages([a for a, _ in rest]), averages([b for _, b in rest])
    expected = ((real - alpha_f) ** 2 + (fake - alpha_r) ** 2).mean(axis=1)
    np.testing.assert_allclose(lecam.penalty(anchors, jnp.asarray(fake), jnp.asarray(real)), expected, rtol=1e-5)


def test_the_gradient_reaches_the_logits_and_not_the_anchors():
    (fake, real), (a, b) = batches(2)
    anchors = lecam.move(lecam.init(3), jnp.asarray(a), jnp.asarray(b), DECAY)
    by_anchors, by_real = jax.grad(
        lambda anchors, real: lecam.penalty(anchors, jnp.asarray(fake), real).sum(), argnums=(0, 1)
    )(anchors, jnp.asarray(real))
    assert not any(np.any(x) for x in by_anchors)
    np.testing.assert_allclose(by_real, 2 * (real - a.mean(axis=0)) / 3, rtol=1e-5)
    moved = lambda x: lecam.move(anchors, x, x, DECAY).real.sum()
    assert not np.any(jax.grad(moved)(jnp.asarray(real)))
