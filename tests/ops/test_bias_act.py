"""Bias, activation, gain and clamp against NumPy formulas."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.ops.bias_act import ACTIVATIONS, bias_act

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
FORMULAS = {  # (function, default gain)
    "linear": (lambda x: x, 1),
    "relu": (lambda x: np.maximum(x, 0), math.sqrt(2)),
    "lrelu": (lambda x: np.where(x > 0, x, 0.2 * x), math.sqrt(2)),
    "tanh": (np.tanh, 1),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 1),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), 1),
    "selu": (lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)), 1),
    "softplus": (lambda x: np.log1p(np.exp(x)), 1),
    "swish": (lambda x: x / (1 + np.exp(-x)), math.sqrt(2)),
}


def test_every_activation_has_a_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("act", FORMULAS)
def test_activation_of_the_biased_input_times_its_gain(act, draw):
    formula, gain = FORMULAS[act]
    x, b = 2 * draw((3, 4, 5)), draw(5)
    np.testing.assert_allclose(
        bias_act(jnp.asarray(x), jnp.asarray(b), act=act), gain * formula(x + b), rtol=1e-12, atol=1e-14
    )


def test_alpha_gain_and_clamp_apply_in_this_order(draw):
    x, b = 3 * draw((50, 4)), draw(4)
    got = bias_act(jnp.asarray(x), jnp.asarray(b), act="lrelu", alpha=0.5, gain=2.0, clamp=1.5)
    y = 2.0 * np.where(x + b > 0, x + b, 0.5 * (x + b))
    assert (np.abs(y) > 1.5).any()
    assert (np.abs(y) < 1.5).any()
    np.testing.assert_allclose(got, np.clip(y, -1.5, 1.5), rtol=1e-12)


@pytest.mark.parametrize(("alpha", "gain"), [(0.2, math.sqrt(2)), (0.0, 1.0), (-0.5, 2.0), (0.2, -1.0), (0.2, 0.0)])
def test_lrelu_has_the_derivatives_of_its_formula_whatever_the_signs_of_slope_and_gain(alpha, gain, draw):
    x, dx = jnp.asarray(3 * draw((4, 5))), jnp.asarray(draw((4, 5)))
    slope = np.where(np.asarray(x) > 0, gain, alpha * gain)

    def act(x):
        return bias_act(x, act="lrelu", alpha=alpha, gain=gain)

    def squared_slopes(x):
        return (jax.grad(lambda x: (act(x) ** 3).sum())(x) ** 2).sum()

    np.testing.assert_allclose(jax.jvp(act, (x,), (dx,))[1], slope * np.asarray(dx), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(lambda x: act(x).sum())(x), slope, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(squared_slopes)(x), 36 * slope**6 * np.asarray(x) ** 3, rtol=1e-12)


def test_without_arguments_nothing_changes(draw):
    x = jnp.asarray(draw((2, 3)))
    assert np.array_equal(bias_act(x), x)


@pytest.mark.parametrize("act", FORMULAS)
def test_low_precision_stays_low(act, draw):
    y = bias_act(jnp.asarray(draw((2, 3)), jnp.bfloat16), jnp.asarray(draw(3), jnp.float32), act=act, clamp=256.0)
    assert y.dtype == jnp.bfloat16


def test_an_unknown_activation_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"act is 'gelu'; known: linear, relu, lrelu, "):
        bias_act(jnp.zeros((1, 2)), act="gelu")
