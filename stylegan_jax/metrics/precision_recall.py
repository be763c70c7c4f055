"""Improved precision and recall (Kynkäänniemi et al. 2019), with exact neighbours and little memory.

Distances come in square tiles and are reduced before the next one: besides the features, a few tiles' worth of memory.
"""

from __future__ import annotations

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
    for rows in _tiles(fake, of_fake, center, tile):
        row_hits = []
        for j, columns in enumerate(_tiles(real, of_real, center, tile)):
            by_row, by_column = _covered(rows, columns)
            row_hits.append(by_row)
            part = in_fake[j * tile : (j + 1) * tile]
            part |= np.asarray(by_column)[: len(part)]
        in_real.append(np.any(jax.device_get(row_hits), axis=0))
    return Manifolds(np.concatenate(in_real)[: len(fake)], in_fake, np.sqrt(of_real), np.sqrt(of_fake))


def _dtype(x: np.ndarray) -> np.dtype:
    return np.promote_types(x.dtype, np.float32)


class Tile(NamedTuple):
    """Some rows of a set on the device, filled up: what lies in no set has radius -1."""

    rows: jax.Array  # float[tile, d], without the center
    lengths: jax.Array  # float[tile], squared; in a program of their own, as a CPU's takes thrice as long with them
    radii: jax.Array  # float[tile], squared


def _tiles(x: np.ndarray, radii: np.ndarray | None, center: np.ndarray, tile: int, first: int = 0) -> Iterator[Tile]:
    """Yield the rows of a set from tile number `first` on."""
    for start in range(first * tile, len(x), tile):
        rows = x[start : start + tile]
        own = np.zeros(len(rows)) if radii is None else radii[start : start + tile]
        padding = tile - len(rows)
        filled, lengths = _centered(jnp.pad(jnp.asarray(rows), ((0, padding), (0, 0))), center)
        yield Tile(filled, lengths, jnp.asarray(np.pad(own, (0, padding), constant_values=-1), filled.dtype))


@jax.jit
def _centered(rows: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return rows less the center, and their squared lengths."""
    rows = rows.astype(center.dtype) - center[None]
    return rows, jnp.square(rows).sum(axis=1)


def _squared(a: Tile, b: Tile) -> jax.Array:
    """Return squared distances [rows of a, rows of b]; infinite where there is no row."""
    products = jnp.matmul(a.rows, b.rows.T, precision="highest")
    there = (a.radii >= 0)[:, None] & (b.radii >= 0)[None]
    return jnp.where(there, jnp.maximum(a.lengths[:, None] + b.lengths[None] - 2 * products, 0), jnp.inf)


@jax.jit
def _nearest(a: Tile, b: Tile, best_a: jax.Array, best_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the k + 1 smallest squared distances so far of each row of a, and of b, [tile, k + 1], with these."""
    found = _squared(a, b)
    return _smallest(best_a, found), _smallest(best_b, found.T)


def _smallest(best: jax.Array, found: jax.Array) -> jax.Array:
    found = -jax.lax.top_k(-found, best.shape[1])[0]
    return jnp.sort(jnp.concatenate([best, found], axis=1), axis=1)[:, : best.shape[1]]


def _radii(x: np.ndarray, center: np.ndarray, k: int, tile: int) -> np.ndarray:
    """Return the squared distance of each row to its k-th neighbour, [n]; the nearest of all is the row itself."""
    tile = max(min(tile, len(x)), k + 1)
    best = [jnp.full((tile, k + 1), jnp.inf, center.dtype)] * -(-len(x) // tile)
    for i, rows in enumerate(_tiles(x, None, center, tile)):
        own = best[i]
        for j, columns in enumerate(_tiles(x, None, center, tile, first=i), start=i):  # the others are these, mirrored
            own, theirs = jax.block_until_ready(_nearest(rows, columns, own, best[j]))  # else all would be queued
            if j > i:
                best[j] = theirs
        best[i] = own
    return np.concatenate([np.asarray(rows[:, k]) for rows in best])[: len(x)]


@jax.jit
def _covered(rows: Tile, columns: Tile) -> tuple[jax.Array, jax.Array]:
    """Return (which rows a column's radius reaches, which columns a row's radius reaches)."""
    found = _squared(rows, columns)
    return (found <= columns.radii[None]).any(axis=1), (found <= rows.radii[:, None]).any(axis=0)
