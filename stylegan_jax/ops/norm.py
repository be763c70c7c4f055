"""Normalisation over the batch (minibatch stddev, PG §3), features (second moment, PG §4.2) and pixels (AdaIN)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def minibatch_std(x: jax.Array, group_size: int | None, num_channels: int = 1) -> jax.Array:
    """Append the standard deviation over groups of images as extra channels.

    Members of a group are n / group apart in the batch. The variance is biased, with 1e-8 inside the root.

    Args:
        x: float[n, h, w, c]; c divisible by `num_channels`.
        group_size: images per group, at most n; it must divide n. None: one group.
        num_channels: statistics channels, each over its own part of the channels.

    Returns:
        float[n, h, w, c + num_channels].

    Raises:
        ValueError: the group does not divide the batch.
    """
    n, h, w, c = x.shape
    group = n if group_size is None else min(group_size, n)
    if n % group:
        raise ValueError(f"batch {n} is not divisible by the minibatch-stddev group {group}")
    y = x.reshape(group, n // group, h, w, num_channels, c // num_channels)
    y = y - y.mean(axis=0, keepdims=True)
    y = jnp.sqrt(jnp.square(y).mean(axis=0) + 1e-8)
    y = y.mean(axis=(1, 2, 4))  # [n / group, num_channels]
    y = jnp.tile(y[:, None, None, :], (group, h, w, 1))
    return jnp.concatenate([x, y.astype(x.dtype)], axis=-1)


def second_moment_normalize(x: jax.Array, axis: int = -1, eps: float = 1e-8) -> jax.Array:
    """Divide by the root mean square over an axis, eps inside the root (PG §4.2, pixel norm)."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=axis, keepdims=True) + eps)


def instance_norm(x: jax.Array, eps: float = 1e-8) -> jax.Array:
    """Bring every feature map to mean 0 and standard deviation 1, eps inside the root (Ulyanov et al. 2016).

    Statistics in at least float32; the variance is biased.

    Args:
        x: float[n, h, w, c].
        eps: added to the variance.

    Returns:
        float[n, h, w, c], in the dtype of `x`.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    wide = wide - wide.mean(axis=(1, 2), keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=(1, 2), keepdims=True) + eps)).astype(x.dtype)
