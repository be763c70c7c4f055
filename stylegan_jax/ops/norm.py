"""Normalisation over the batch (minibatch stddev, PG §3), features (second moment, PG §4.2) and pixels (AdaIN)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

MOMENTUM, EPS_BATCH = 0.1, 1e-5
"""PyTorch's defaults of batch normalisation."""


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


def batch_norm(
    x: jax.Array,
    params: Mapping[str, jax.Array],
    stats: Mapping[str, jax.Array],
    group: int,
    train: bool,
    eps: float = EPS_BATCH,
    momentum: float = MOMENTUM,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Normalise channels by the statistics of a batch, or by running ones (Ioffe and Szegedy 2015, arXiv:1502.03167).

    In training over groups of images n / group apart, which are whole in a micro-batch on any devices. Running means
    move towards the groups' mean, with the unbiased variance, as PyTorch's do.

    Args:
        x: float[n, h, w, c].
        params: 'weight' and 'bias', float[c].
        stats: running 'mean' and 'var', float[c].
        group: images that share statistics, at most n; it must divide n.
        train: use the statistics of the batch, and move the running ones.
        eps: added to the variance.
        momentum: of the way to the batch's statistics.

    Returns:
        (float[n, h, w, c], running statistics).
    """
    shape = x.shape
    if train:
        members = min(group, shape[0])
        x = x.reshape(members, shape[0] // members, *shape[1:])
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        var = jnp.square(x - mean).mean(axis=(0, 2, 3), keepdims=True)
        count = members * shape[1] * shape[2]
        move = lambda old, new: old + momentum * (jax.lax.stop_gradient(new).mean(axis=(0, 1, 2, 3)) - old)
        moved = {"mean": move(stats["mean"], mean), "var": move(stats["var"], var * (count / max(count - 1, 1)))}
    else:
        mean, var, moved = stats["mean"][None, None, None], stats["var"][None, None, None], dict(stats)
    x = ((x - mean) * jax.lax.rsqrt(var + eps)).reshape(shape)
    return x * params["weight"][None, None, None] + params["bias"][None, None, None], moved
