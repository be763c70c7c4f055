"""Cutout: a rectangle of zeros (ADA App. B; DeVries & Taylor 2017)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cut(images: jax.Array, center: jax.Array, size: jax.Array) -> jax.Array:
    """Blank a rectangle of each image.

    Args:
        images: float[n, h, w, c].
        center: float[n, 2], (x, y) of the rectangle's centre in units of the image, from its upper left corner.
        size: float[n, 2], (width, height) in units of the image; 0 cuts nothing.
    """

    def inside(length: int, axis: int) -> jax.Array:
        at = (jnp.arange(length, dtype=center.dtype) + 0.5) / length
        return jnp.abs(at[None, :] - center[:, axis, None]) < size[:, axis, None] / 2

    blank = inside(images.shape[1], 1)[:, :, None] & inside(images.shape[2], 0)[:, None, :]
    return jnp.where(blank[..., None], 0, images)
