"""Adversarial losses at logits whose loss is known by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.losses.adversarial import LOSSES

LOG3 = math.log(3)
X = [-LOG3, 0.0, LOG3]
# softplus(-log 3, 0, log 3) = log(1 + 1/3, 2, 4)
SOFTPLUS = [math.log(4 / 3), math.log(2), math.log(4)]
BY_HAND = {  # (generator, fake, real) at X
    "logistic": (SOFTPLUS[::-1], SOFTPLUS, SOFTPLUS[::-1]),
    "minimax": ([-v for v in SOFTPLUS], SOFTPLUS, SOFTPLUS[::-1]),
    "hinge": ([LOG3, 0, -LOG3], [0, 1, 1 + LOG3], [1 + LOG3, 1, 0]),
    "wasserstein": ([LOG3, 0, -LOG3], X, [LOG3, 0, -LOG3]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_by_hand_for_every_head(name):
    logits = jnp.tile(jnp.array(X)[:, None], (1, 2))
    for fn, want in zip(LOSSES[name], BY_HAND[name], strict=True):
        got = fn(logits)
        assert got.shape == (3, 2)
        np.testing.assert_allclose(got, np.tile(np.array(want)[:, None], (1, 2)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_raises_fakes_and_the_discriminator_parts_them(name):
    slope = lambda fn: float(jax.grad(lambda x: fn(x).sum())(jnp.array([[0.3]]))[0, 0])
    loss = LOSSES[name]
    assert slope(loss.generator) < 0
    assert slope(loss.fake) > 0
    assert slope(loss.real) < 0


def test_the_non_saturating_loss_keeps_its_slope_where_the_discriminator_wins():
    slope = lambda name: float(jax.grad(lambda x: LOSSES[name].generator(x).sum())(jnp.array([[-20.0]]))[0, 0])
    assert slope("logistic") == pytest.approx(-1, abs=1e-6)
    assert abs(slope("minimax")) < 1e-6


def test_hinge_stops_beyond_the_margin():
    slope = lambda fn, x: float(jax.grad(lambda v: fn(v).sum())(jnp.array([[x]]))[0, 0])
    assert slope(LOSSES["hinge"].fake, -1.5) == 0
    assert slope(LOSSES["hinge"].real, 1.5) == 0


def test_extreme_logits_stay_finite():
    for loss in LOSSES.values():
        for fn in loss:
            assert np.all(np.isfinite(fn(jnp.array([[-1e4], [1e4]]))))
