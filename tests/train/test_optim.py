"""Adam with the lazy-regularisation correction, against Adam written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stylegan_jax.train import optim


def written_out(x, grads, lr, b1, b2, eps):
    """Kingma & Ba 2015, algorithm 1."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        x = x - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return x


def steps(tx, x, grads, lr, beta2):
    params = jnp.asarray(x, jnp.float32)
    opt = tx.init(params)

    @jax.jit
    def step(params, opt, g, lr, beta2):
        updates, opt = tx.update(g, opt, params, lr, beta2)
        return optax.apply_updates(params, updates), opt

    for g in grads:
        params, opt = step(params, opt, jnp.asarray(g, jnp.float32), lr, beta2)  # rates are traced
    return params


def test_ratio():
    assert optim.lazy_ratio(16) == 16 / 17
    assert optim.lazy_ratio(4) == 0.8
    assert optim.lazy_ratio(0) == 1


@pytest.mark.parametrize(
    ("interval", "lr", "beta1", "beta2"),
    [(16, 0.0018823529411764706, 0.0, 0.9905851), (4, 0.0016, 0.0, 0.9919919), (0, 0.002, 0.0, 0.99)],
)
def test_equals_adam_with_the_corrected_numbers(interval, lr, beta1, beta2):
    rng = np.random.default_rng(0)
    x, grads = rng.standard_normal(6), rng.standard_normal((20, 6)) * np.array([1, 10, 0.1, 1e-3, 1e-9, 5])
    got = steps(optim.adam(0.0, 1e-8, interval), x, grads, 0.002, 0.99)
    want = written_out(x, grads, lr, beta1, beta2, 1e-8)
    np.testing.assert_allclose(got - x, want - x, rtol=1e-3, atol=1e-6)
    assert np.max(np.abs(want - x)) > 0.01


def test_the_first_moment_is_corrected_too():
    grads = np.random.default_rng(1).standard_normal((10, 3))
    got = steps(optim.adam(0.5, 1e-8, 3), np.zeros(3), grads, 0.1, 0.9)
    want = written_out(np.zeros(3), grads, 0.1 * 0.75, 0.5**0.75, 0.9**0.75, 1e-8)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_eps_is_added_outside_the_root():
    # one step: m / (sqrt(v) + eps) = g / (|g| + eps); inside the root it would be g / sqrt(g^2 + eps)
    got = steps(optim.adam(0.0, 1e-4, 0), np.zeros(1), [np.array([1e-4])], 1.0, 0.99)
    np.testing.assert_allclose(got, [-0.5], rtol=1e-4)


def test_untouched_parameters_sit_out_the_regulariser():
    tx = optim.adam(0.0, 1e-8, 3, ("bias",))
    params = {"weight": jnp.ones(2), "bias": jnp.ones(2)}
    grads = {"weight": jnp.ones(2), "bias": jnp.zeros(2)}
    opt = tx.init(params)
    _, opt = tx.update({"weight": jnp.ones(2), "bias": jnp.ones(2)}, opt, params, 0.1, 0.9)
    updates, after = tx.update(grads, opt, params, 0.1, 0.9, is_whole=False)
    assert (updates["bias"] == 0).all() and (updates["weight"] != 0).all()
    counts = lambda state, group: int(optax.tree.get(state.inner_states[group], "count"))
    assert counts(after, "main") == 1 and counts(after, "both") == 2
    np.testing.assert_array_equal(
        optax.tree.get(after.inner_states["main"], "nu")["bias"], optax.tree.get(opt.inner_states["main"], "nu")["bias"]
    )


def test_a_schedule_of_beta2_is_that_of_adam_at_each_step():
    tx, x = optim.adam(0.0, 1e-8, 0), jnp.zeros(2)
    opt, v, grads = tx.init(x), np.zeros(2), np.array([[1.0, -2.0], [0.5, 4.0], [3.0, 1.0]])
    step = jax.jit(lambda g, opt, beta2: tx.update(g, opt, x, 0.1, beta2))
    for t, (g, beta2) in enumerate(zip(grads, (0.9, 0.95, 0.99), strict=True), start=1):
        updates, opt = step(jnp.asarray(g, jnp.float32), opt, jnp.float32(beta2))
        v = beta2 * v + (1 - beta2) * g**2
        np.testing.assert_allclose(updates, -0.1 * g / (np.sqrt(v / (1 - beta2**t)) + 1e-8), rtol=1e-4)


def test_frozen_paths_are_whole_names():
    tx = optim.adam(0.0, 1e-8, 0, frozen=("b8/conv",))
    params = {"b8": {"conv": {"w": jnp.ones(2)}, "conv1": {"w": jnp.ones(2)}}}
    updates, _ = tx.update(params, tx.init(params), params, 0.1, 0.9)
    assert (updates["b8"]["conv"]["w"] == 0).all() and (updates["b8"]["conv1"]["w"] != 0).all()
