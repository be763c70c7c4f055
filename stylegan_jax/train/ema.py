"""Moving averages of parameters: exponential (EMA) and power-function (EDM2 §3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from stylegan_jax.sampling.averages import exponent_of


def ema_beta(batch_size: int, nimg: jax.Array, half_life_kimg: jax.Array | float, rampup: float) -> jax.Array:
    """Return the EMA decay per iteration for a half-life in thousands of images (PG §A, SG2 repository).

    Args:
        batch_size: images per iteration.
        nimg: images shown before this iteration.
        half_life_kimg: half-life of the average; may be traced.
        rampup: limits the half-life to this times `nimg`, so that at nimg = 0 the average is a copy; 0: no limit.

    Returns:
        float scalar in [0, 1).
    """
    half_life = jnp.asarray(half_life_kimg * 1000.0)
    if rampup:
        half_life = jnp.minimum(half_life, nimg * rampup)
    return 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8))


def update(average, new, beta: jax.Array):
    """Return beta * average + (1 - beta) * new, leaf by leaf; elements that are equal stay exactly equal."""
    moved = optax.incremental_update(new, average, 1 - beta)
    return jax.tree.map(lambda a, x, y: jnp.where(a == x, a, y), average, new, moved)


def power_share(batch_size: int, nimg: jax.Array, width: float) -> jax.Array:
    """Return the weight of the newest parameters in a power-function average (EDM2 eq. 3, counted in images).

    Args:
        batch_size: images per iteration.
        nimg: images shown before this iteration; at 0 the weight is 1, so the average becomes a copy.
        width: standard deviation of the average relative to the length of training.

    Returns:
        float scalar in (0, 1].
    """
    left = jnp.log1p(-batch_size / (nimg + batch_size))
    return -jnp.expm1((exponent_of(width) + 1) * left)


def move(average, new, share: jax.Array):
    """Return average + share * (new - average), leaf by leaf.

    Unlike `update` it never forms 1 - share: late in a run `share` is 1e-5 or less, and in float32 the rounding error
    of that difference would exceed a thousandth of it.
    """
    return jax.tree.map(lambda a, x: a + share * (x - a), average, new)
