"""Adversarial losses at logits whose loss is known by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.losses.adversarial import LOSSES, drift

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
SEPARATE = list(BY_HAND)
"""Losses that are sums of one function of a fake and one of a real."""


def pairs():
    """Return every pair of logits of X: (fake float[9, 1], real float[9, 1])."""
    fake, real = np.meshgrid(X, X, indexing="ij")
    return jnp.asarray(fake.reshape(-1, 1)), jnp.asarray(real.reshape(-1, 1))


@pytest.mark.parametrize("name", SEPARATE)
def test_values_by_hand(name):
    generator, of_fake, of_real = map(np.array, BY_HAND[name])
    fake, real = pairs()
    loss, rows = LOSSES[name], np.repeat(generator, 3)
    np.testing.assert_allclose(loss.generator(fake, None), rows, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(loss.generator(fake, real), rows, rtol=1e-6, atol=1e-7)
    want = (of_fake[:, None] + of_real[None]).reshape(-1)
    np.testing.assert_allclose(loss.discriminator(fake, real), want, rtol=1e-6, atol=1e-7)
    assert not loss.needs_real


def test_the_relativistic_loss_by_hand():
    """Of logits log 3 apart, the real the higher: the discriminator's loss is log(4 / 3), the generator's log 4."""
    loss = LOSSES["relativistic"]
    fake, real = jnp.array([[0.0], [LOG3], [7.0]]), jnp.array([[LOG3], [0.0], [7.0]])
    want = [math.log(4 / 3), math.log(4), math.log(2)]
    np.testing.assert_allclose(loss.discriminator(fake, real), want, rtol=1e-6)
    np.testing.assert_allclose(loss.generator(fake, real), [want[1], want[0], want[2]], rtol=1e-6)
    np.testing.assert_allclose(loss.generator(fake + 5, real + 5), loss.generator(fake, real), rtol=1e-5)


def test_a_loss_that_needs_reals_says_so():
    assert [name for name, loss in LOSSES.items() if loss.needs_real] == ["relativistic"]
    with pytest.raises(ValueError, match="needs the logits of reals"):
        LOSSES["relativistic"].generator(jnp.zeros((2, 1)), None)


@pytest.mark.parametrize("name", LOSSES)
def test_heads_are_averaged_after_the_loss(name):
    loss, (fake, real) = LOSSES[name], pairs()
    heads = [(fake, real), (2 * fake - 1, 3 * real), (fake + real, -real)]
    together = [jnp.concatenate(x, axis=1) for x in zip(*heads, strict=True)]
    for function in (loss.generator, loss.discriminator):
        got = function(*together)
        assert got.shape == (9,)
        np.testing.assert_allclose(got, np.mean([function(*head) for head in heads], axis=0), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_raises_fakes_and_the_discriminator_parts_them(name):
    loss, at = LOSSES[name], jnp.array([[0.3]])
    slopes = lambda function: [float(x[0, 0]) for x in jax.grad(lambda *x: function(*x).sum(), argnums=(0, 1))(at, at)]
    assert slopes(loss.generator)[0] < 0
    by_fake, by_real = slopes(loss.discriminator)
    assert by_fake > 0 > by_real


def test_the_non_saturating_loss_keeps_its_slope_where_the_discriminator_wins():
    slope = lambda name: float(jax.grad(lambda x: LOSSES[name].generator(x, None).sum())(jnp.array([[-20.0]]))[0, 0])
    assert slope("logistic") == pytest.approx(-1, abs=1e-6)
    assert abs(slope("minimax")) < 1e-6


def test_hinge_stops_beyond_the_margin():
    of = lambda *x: LOSSES["hinge"].discriminator(*x).sum()
    slopes = lambda fake, real: [float(x[0, 0]) for x in jax.grad(of, argnums=(0, 1))(*map(jnp.array, (fake, real)))]
    assert slopes([[-1.5]], [[1.5]]) == [0, 0]
    assert slopes([[-0.5]], [[0.5]]) == [1, -1]


def test_drift_is_the_mean_square_of_the_heads():
    np.testing.assert_allclose(drift(jnp.array([[1.0, 3.0], [-2.0, 0.0]])), [5, 2])


def test_extreme_logits_stay_finite():
    fake, real = (x.reshape(-1, 1) for x in jnp.meshgrid(*2 * [jnp.array([-1e4, 1e4])]))
    for loss in LOSSES.values():
        for function in (loss.generator, loss.discriminator):
            assert np.all(np.isfinite(function(fake, real)))
