"""Resizing as linear maps of rows and columns: by area, and bilinearly with both ends in place."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def area_matrix(old: int, new: int) -> np.ndarray:
    """Return float64[new, old]: row i is the mean of the samples that [i, i + 1) * old / new touches."""
    i, j = np.arange(new)[:, None], np.arange(old)[None]
    touched = (j >= i * old // new) & (j < -(-(i + 1) * old // new))
    return touched / touched.sum(axis=1, keepdims=True)


@functools.cache
def aligned_matrix(old: int, new: int) -> np.ndarray:
    """Return float64[new, old], which interpolates linearly so that both ends stay where they are."""
    at = np.arange(new) * (old - 1) / max(new - 1, 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)[None]))


def resize_area(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return float[n, *size, c]: means of the pixels that each new one touches (adaptive average pooling).

    Windows overlap where the ratio is not whole; an enlarged image repeats its pixels.
    """
    return _resize(x, size, area_matrix)


def resize_aligned(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return float[n, *size, c]: bilinear, the corners in place (`align_corners` in PyTorch), without smoothing."""
    return _resize(x, size, aligned_matrix)


def _resize(x, size, matrix):
    if x.shape[1:3] == tuple(size):
        return x
    rows, columns = (jnp.asarray(matrix(x.shape[axis + 1], size[axis]), x.dtype) for axis in (0, 1))
    return jnp.einsum("ah,nhwc,bw->nabc", rows, x, columns, precision="highest", optimize="optimal")
