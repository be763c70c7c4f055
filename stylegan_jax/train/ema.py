"""Exponential moving averages of parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax


def ema_beta(batch_size: int, nimg: jax.Array, half_life_kimg: float, rampup: float) -> jax.Array:
    """Return the decay per iteration for a half-life in thousands of images (PG §A, SG2 repository).

    Args:
        batch_size: images per iteration.
        nimg: images shown before this iteration.
        half_life_kimg: half-life of the average.
        rampup: the half-life is at most this times `nimg`; 0: no ramp. At nimg = 0 the average is a plain copy.

    Returns:
        float scalar in [0, 1).
    """
    half_life = jnp.asarray(half_life_kimg * 1000.0)
    if rampup:
        half_life = jnp.minimum(half_life, nimg * rampup)
    return 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8))


def update(average, new, beta: jax.Array):
    """Return beta * average + (1 - beta) * new for every leaf."""
    return optax.incremental_update(new, average, 1 - beta)
