"""Moving averages of parameters: exponential ones, and power functions of time (EDM2 §3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from stylegan_jax.sampling.averages import exponent_of


def ema_beta(batch_size: int, nimg: jax.Array, half_life_kimg: jax.Array | float, rampup: float) -> jax.Array:
    """Return the decay per iteration for a half-life in thousands of images (PG §A, SG2 repository).

    Args:
        batch_size: images per iteration.
        nimg: images shown before this iteration.
        half_life_kimg: half-life of the average, traced or not.
        rampup: the half-life is at most this times `nimg`; 0: no ramp. At nimg = 0 the average is a plain copy.

    Returns:
        float scalar in [0, 1).
    """
    half_life = jnp.asarray(half_life_kimg * 1000.0)
    if rampup:
        half_life = jnp.minimum(half_life, nimg * rampup)
    return 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8))


def update(average, new, beta: jax.Array):
    """Return beta * average + (1 - beta) * new for every leaf; equal leaves, such as frozen ones, stay equal."""
    moved = optax.incremental_update(new, average, 1 - beta)
    return jax.tree.map(lambda a, x, y: jnp.where(a == x, a, y), average, new, moved)


def power_share(batch_size: int, nimg: jax.Array, width: float) -> jax.Array:
    """Return the weight of the newest parameters in a power-function average (EDM2 eq. 3, with images for steps).

    Args:
        batch_size: images per iteration.
        nimg: images shown before this iteration; at 0 the average becomes a copy.
        width: relative width of the average.

    Returns:
        float scalar in (0, 1].
    """
    left = jnp.log1p(-batch_size / (nimg + batch_size))
    return -jnp.expm1((exponent_of(width) + 1) * left)


def move(average, new, share: jax.Array):
    """Return average + share * (new - average) for every leaf.

    Late in a run a share is 1e-5 or less: in float32, the rounding error of `1 - share` would exceed a thousandth of
    it.
    """
    return jax.tree.map(lambda a, x: a + share * (x - a), average, new)
