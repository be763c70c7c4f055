"""LeCam regularisation of the discriminator's logits, for small data sets (Tseng et al. 2021)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Anchors(NamedTuple):
    """Moving averages of the logits, part of the training state.

    Attributes:
        real: float32[k], per head, decayed sum of the mean logits of reals.
        fake: float32[k], the same for fakes.
        weight: float32[], sum of the weights in these sums; 0 before the first step.
    """

    real: jax.Array
    fake: jax.Array
    weight: jax.Array


def init(heads: int) -> Anchors:
    """Return the averages before the first step, for a discriminator with `heads` logits per example."""
    return Anchors(jnp.zeros(heads), jnp.zeros(heads), jnp.zeros([]))


def means(anchors: Anchors) -> tuple[jax.Array, jax.Array]:
    """Return (alpha_R, alpha_F), float32[k] each: the average logits of reals and fakes so far, or 0."""
    weight = jnp.where(anchors.weight > 0, anchors.weight, 1.0)
    return anchors.real / weight, anchors.fake / weight


def penalty(anchors: Anchors, fake: jax.Array, real: jax.Array) -> jax.Array:
    """Return the squared distance of each side's logits from the other side's average (Tseng et al. 2021, §3.2).

    This is the paper's R_LC = E[(D(x) - alpha_F)^2] + E[(D(G(z)) - alpha_R)^2]; its code clips differences at 0.

    Args:
        anchors: averages over the previous steps; treated as constants.
        fake: float[n, k], logits of fakes.
        real: float[n, k], logits of reals.

    Returns:
        float[n], the sum of both squares, averaged over heads; 0 while there are no averages.
    """
    alpha_r, alpha_f = jax.lax.stop_gradient(means(anchors))
    squares = jnp.square(real - alpha_f[None]) + jnp.square(fake - alpha_r[None])
    return jnp.where(anchors.weight > 0, squares.mean(axis=1), 0.0)


def move(anchors: Anchors, fake: jax.Array, real: jax.Array, decay: float) -> Anchors:
    """Update the averages with a step's logits float[n, k]; `decay` is the paper's gamma, 0.99 there."""
    add = lambda old, new: old * decay + (1 - decay) * jax.lax.stop_gradient(new)
    return Anchors(
        add(anchors.real, real.mean(axis=0)), add(anchors.fake, fake.mean(axis=0)), add(anchors.weight, jnp.ones([]))
    )
