"""Improved precision and recall (Kynkäänniemi et al. 2019), with exact neighbours and little memory.

Distances come in square tiles and are reduced before the next one: besides the features, two tiles' worth of memory.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NEIGHBOURS = 3
TILE = 4096


class Manifolds(NamedTuple):
    """What `precision_recall` finds.

    Attributes:
        precision_hits: bool[m], which fakes lie in the manifold of the reals; precision is their share.
        recall_hits: bool[n], which reals lie in the manifold of the fakes.
        real_radii: float[n], distance of each real to its k-th neighbour among the other reals.
        fake_radii: float[m].
    """

    precision_hits: np.ndarray
    recall_hits: np.ndarray
    real_radii: np.ndarray
    fake_radii: np.ndarray


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS, tile: int = TILE) -> Manifolds:
    """Compare two sets of features.

    An element is in a manifold when it is no farther from one of its members than that member's k-th neighbour.

    Args:
        real: float[n, d]; officially VGG16's 4096 in float16. Distances are computed in at least float32.
        fake: float[m, d].
        k: neighbours that define the radius; both sets need more than that.
        tile: rows and columns of distances in memory at a time.
    """
    tile = min(tile, max(len(real), len(fake)))
    center = real[:tile].mean(axis=0, dtype=np.float64).astype(_dtype(real))  # large common offsets would cost digits
    of_real, of_fake = (_radii(x, center, k, tile) for x in (real, fake))
    in_real, in_fake = [], np.zeros(len(real), bool)
    for rows, row_radii in _tiles(fake, of_fake, center, tile):
        row_hits = []
        for j, (columns, column_radii) in enumerate(_tiles(real, of_real, center, tile)):
            by_row, by_column = _covered(rows, columns, row_radii, column_radii)
            row_hits.append(by_row)
            part = in_fake[j * tile : (j + 1) * tile]
            part |= np.asarray(by_column)[: len(part)]
        in_real.append(np.any(jax.device_get(row_hits), axis=0))
    return Manifolds(np.concatenate(in_real)[: len(fake)], in_fake, np.sqrt(of_real), np.sqrt(of_fake))


def _dtype(x: np.ndarray) -> np.dtype:
    return np.promote_types(x.dtype, np.float32)


def _tiles(x: np.ndarray, radii: np.ndarray | None, center: np.ndarray, tile: int) -> Iterator[tuple]:
    """Yield (rows [tile, d] on the device, their radii), the last rows filled up; filling has radius -1."""
    for start in range(0, len(x), tile):
        rows = x[start : start + tile]
        padding = tile - len(rows)
        own = np.zeros(len(rows)) if radii is None else radii[start : start + tile]
        rows = jnp.pad(_centered(jnp.asarray(rows), center), ((0, padding), (0, 0)))
        yield rows, jnp.asarray(np.pad(own, (0, padding), constant_values=-1), rows.dtype)


@jax.jit
def _centered(rows: jax.Array, center: jax.Array) -> jax.Array:
    return rows.astype(center.dtype) - center[None]


def _squared(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return squared distances [rows of a, rows of b]."""
    sums = jnp.square(a).sum(axis=1)[:, None] + jnp.square(b).sum(axis=1)[None]
    return jnp.maximum(sums - 2 * jnp.matmul(a, b.T, precision="highest"), 0)


@functools.partial(jax.jit, donate_argnums=2)
def _nearest(rows: jax.Array, columns: jax.Array, best: jax.Array, counts: jax.Array) -> jax.Array:
    """Return the k + 1 smallest squared distances of each row so far, [tile, k + 1], with those to more columns."""
    found = jnp.where(counts[None] < 0, jnp.inf, _squared(rows, columns))
    found = -jax.lax.top_k(-found, best.shape[1])[0]
    return jnp.sort(jnp.concatenate([best, found], axis=1), axis=1)[:, : best.shape[1]]


def _radii(x: np.ndarray, center: np.ndarray, k: int, tile: int) -> np.ndarray:
    """Return the squared distance of each row to its k-th neighbour, [n]; the nearest of all is the row itself."""
    tile, out = max(min(tile, len(x)), k + 1), []
    for rows, _ in _tiles(x, None, center, tile):
        best = jnp.full((tile, k + 1), jnp.inf, rows.dtype)
        for columns, counts in _tiles(x, None, center, tile):
            best = jax.block_until_ready(_nearest(rows, columns, best, counts))  # else all tiles would be queued
        out.append(np.asarray(best[:, k]))
    return np.concatenate(out)[: len(x)]


@jax.jit
def _covered(rows: jax.Array, columns: jax.Array, row_radii: jax.Array, column_radii: jax.Array):
    """Return (which rows a column's radius reaches, which columns a row's radius reaches); radii are squared."""
    found = _squared(rows, columns)
    real = (row_radii >= 0)[:, None] & (column_radii >= 0)[None]
    reach = lambda radii: jnp.where(real, found <= radii, False)
    return reach(column_radii[None]).any(axis=1), reach(row_radii[:, None]).any(axis=0)
