"""Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), exact.

Distances are computed in square tiles, each reduced before the next, so they need the memory of a few tiles besides the
features.

Rows with equal bits are one point that counts several times, so their distance is 0. Each pair of points is computed
once, in one tile by one program, so a distance has the same value wherever it is compared. Otherwise the rounding of a
matrix product, which depends on the tile's shape, would affect pictures that occur several times.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NEIGHBOURS, COVERAGE_NEIGHBOURS = 3, 5
TILE = 4096
NEAR = 2.0**-10
"""Squared distances below this share of the squared lengths are computed in float64: float32 keeps too few of their
digits."""


class Manifolds(NamedTuple):
    """The result of `precision_recall`.

    Attributes:
        precision_hits: bool[m], which fakes are in the manifold of the reals; precision is their share.
        recall_hits: bool[n], which reals are in the manifold of the fakes.
        real_radii: float[n], distance of each real to its k-th neighbour among the other reals.
        fake_radii: float[m].
    """

    precision_hits: np.ndarray
    recall_hits: np.ndarray
    real_radii: np.ndarray
    fake_radii: np.ndarray


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS, tile: int = TILE) -> Manifolds:
    """Compare two sets of features.

    An element is in a manifold if it is no farther from one of its members than that member's k-th neighbour.

    Args:
        real: float[n, d]; officially VGG16's 4096 in float16. Distances are computed in at least float32.
        fake: float[m, d].
        k: neighbours that define the radius; both sets need more than that.
        tile: rows and columns of distances in memory at a time.
    """
    points = _Points(real, fake, k, tile)
    radii = _radii(points, k)
    hits = [np.zeros((2, points.tile), bool) for _ in points.counts]  # by tile: in the manifold of reals, of fakes
    for i, j, found in points.distances(lambda a, b: bool((a[0] and b[1]) or (a[1] and b[0]))):
        by_row, by_column = _covered(found, radii[i], radii[j])
        hits[i] |= np.asarray(by_row)
        hits[j] |= np.asarray(by_column)
    in_real, in_fake = np.concatenate(hits, axis=1)
    of_real, of_fake = np.concatenate([np.sqrt(np.maximum(r, 0)) for r in radii], axis=1)
    of_reals, of_fakes = points.index[: len(real)], points.index[len(real) :]
    return Manifolds(in_real[of_fakes], in_fake[of_reals], of_real[of_reals], of_fake[of_fakes])


class Balls(NamedTuple):
    """The result of `density_coverage`.

    Attributes:
        density: float[m], the number of balls of reals that contain each fake, over k; their mean, the density, may
            exceed 1.
        is_covered: bool[n], whether the ball of each real contains a fake; their share is the coverage.
    """

    density: np.ndarray
    is_covered: np.ndarray


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = COVERAGE_NEIGHBOURS, tile: int = TILE) -> Balls:
    """Compare two sets of features by the open balls around the reals, with their k-th neighbours on the surface.

    Unlike for precision and recall, an outlier among the reals has little effect, and the fakes' neighbourhoods do not
    matter (Naeem et al. 2020, sections 3 and 4). The balls are open as in the authors' code.

    Args:
        real: float[n, d], as `precision_recall` takes them.
        fake: float[m, d].
        k: neighbours that define the radius; both sets need more than that.
        tile: rows and columns of distances in memory at a time.
    """
    points = _Points(real, fake, k, tile)
    radii = [both[0] for both in _radii(points, k)]
    inside, covered = (np.zeros((len(radii), points.tile), kind) for kind in (np.int64, bool))
    for i, j, found in points.distances(lambda a, b: bool((a[0] and b[1]) or (a[1] and b[0]))):
        for a, b, distances in [(i, j, found), (j, i, found.T)][: 1 + (i != j)]:
            counted, hit = _balls(distances, radii[a], points.counts[a][0], points.counts[b][1])
            inside[b] += np.asarray(counted)
            covered[a] |= np.asarray(hit)
    of_reals, of_fakes = points.index[: len(real)], points.index[len(real) :]
    return Balls(inside.ravel()[of_fakes] / k, covered.ravel()[of_reals])


class Tile(NamedTuple):
    """Some points on the device, padded with zeros."""

    rows: jax.Array  # float[tile, d], without the center
    lengths: (
        jax.Array
    )  # float[tile], squared; computed apart, because with them the CPU program takes three times as long
    there: jax.Array  # bool[tile], which of them are points


class _Points:
    """The distinct rows of two sets, those of the first one first.

    Attributes:
        index: int[n + m], the point of each row.
        tile: points per tile.
        counts: by tile int32[2, tile], how often a point occurs in each set.
        dtype: of the distances.
    """

    def __init__(self, real: np.ndarray, fake: np.ndarray, k: int, tile: int):
        self._sets, self._dtype = (real, fake), np.promote_types(real.dtype, fake.dtype)
        numbers: dict[bytes, int] = {}
        index, firsts = [], []
        for row in (row for rows in self._sets for row in rows):
            key = hashlib.sha256((row.astype(self._dtype) + self._dtype.type(0)).tobytes()).digest()  # -0 is 0
            if key not in numbers:
                numbers[key] = len(firsts)
                firsts.append(len(index))
            index.append(numbers[key])
        self.index, self._firsts = np.array(index), np.array(firsts)
        self.tile = max(min(tile, len(firsts)), k + 1)
        tiles = -(-len(firsts) // self.tile)
        counts = [np.bincount(part, minlength=tiles * self.tile) for part in np.split(self.index, [len(real)])]
        self.counts = np.split(np.stack(counts).astype(np.int32), tiles, axis=1)
        first = self._rows(0).mean(axis=0, dtype=np.float64)  # large common offsets would cost digits
        self.dtype = jax.dtypes.canonicalize_dtype(np.promote_types(self._dtype, np.float32))
        self._center = first.astype(self.dtype)

    def _rows(self, number: int) -> np.ndarray:
        at = self._firsts[number * self.tile : (number + 1) * self.tile]
        real, fake = self._sets
        ours = at < len(real)
        return np.concatenate([real[at[ours]], fake[at[~ours] - len(real)]]).astype(self._dtype)

    def _tile(self, number: int) -> Tile:
        rows = self._rows(number)
        padding = self.tile - len(rows)
        filled, lengths = _centered(jnp.pad(jnp.asarray(rows), ((0, padding), (0, 0))), self._center)
        return Tile(filled, lengths, jnp.arange(self.tile) < len(rows))

    def distances(self, wanted: Callable[[Any, Any], bool]) -> Iterator[tuple[int, int, jax.Array]]:
        """Yield (i, j, squared distances float[points of tile i, of tile j]), i <= j; infinite for padding.

        Args:
            wanted: (bool[2], bool[2]), whether points of tile i, and of tile j, occur in each set -> whether to compute
                them.
        """
        for i in range(len(self.counts)):
            rows = self._tile(i)
            for j in range(i, len(self.counts)):
                if not wanted(self.counts[i].any(axis=1), self.counts[j].any(axis=1)):
                    continue
                columns = rows if i == j else self._tile(j)
                found, near, count = _squared(rows, columns, is_same=i == j)
                if count > 0:
                    found = self._with_near(i, j, found, np.asarray(near))
                yield i, j, jax.block_until_ready(found)  # else all would be queued

    def _with_near(self, i: int, j: int, found: jax.Array, near: np.ndarray) -> jax.Array:
        """Recompute distances in float64 where they are `near`."""
        at = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        a, b = (self._rows(t)[rows].astype(np.float64) - self._center for t, rows in zip((i, j), at, strict=True))
        exact = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
        exact = np.maximum(np.maximum(exact, exact.T) if i == j else exact, 0)
        out, block = np.array(found), np.ix_(*at)
        out[block] = np.where(near[block], exact, out[block])
        return jnp.asarray(out)


@jax.jit
def _centered(rows: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return rows minus the center, and their squared lengths."""
    rows = rows.astype(center.dtype) - center[None]
    return rows, jnp.square(rows).sum(axis=1)


@functools.partial(jax.jit, static_argnames="is_same")
def _squared(a: Tile, b: Tile, *, is_same: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return (squared distances [points of a, of b], which of them are too small to be exact, how many these are)."""
    lengths = a.lengths[:, None] + b.lengths[None]
    found = jnp.maximum(lengths - 2 * jnp.matmul(a.rows, b.rows.T, precision="highest"), 0)
    there = a.there[:, None] & b.there[None]
    if is_same:
        itself = jnp.eye(len(found), dtype=bool)
        found = jnp.where(itself, 0, jnp.maximum(found, found.T))
        near = there & ~itself & (found < NEAR * lengths)
    else:
        near = there & (found < NEAR * lengths)
    return jnp.where(there, found, jnp.inf), near, near.sum()


Nearest = tuple[jax.Array, jax.Array]
"""(float[tile, k + 1] smallest squared distances so far, int32[tile, k + 1] how often a point at each occurs)."""


@jax.jit
def _nearest(found: jax.Array, best: Nearest, counts: jax.Array) -> Nearest:
    """Return the nearest of those so far and of the columns of `found`, of which each occurs int32[tile] times."""
    size = best[0].shape[1]
    found, at = jax.lax.top_k(-jnp.where(counts > 0, found, jnp.inf), size)
    distances, times = jnp.concatenate([best[0], -found], axis=1), jnp.concatenate([best[1], counts[at]], axis=1)
    order = jnp.argsort(distances, axis=1)[:, :size]
    return jnp.take_along_axis(distances, order, axis=1), jnp.take_along_axis(times, order, axis=1)


@jax.jit
def _kth(best: Nearest, counts: jax.Array) -> jax.Array:
    """Return the distance at which k others are reached, counting the point itself as the first; -1 if there is
    none."""
    distances, times = best
    reached = jnp.argmax(jnp.cumsum(times, axis=1) >= distances.shape[1], axis=1)
    return jnp.where(counts > 0, jnp.take_along_axis(distances, reached[:, None], axis=1)[:, 0], -1)


def _radii(points: _Points, k: int) -> list[jax.Array]:
    """Return by tile the squared distance of each point to its k-th neighbour in each set, [2, tile]; -1 elsewhere."""
    tile, dtype = points.tile, points.dtype
    none = jnp.full((tile, k + 1), jnp.inf, dtype), jnp.zeros((tile, k + 1), jnp.int32)
    best = [[none, none] for _ in points.counts]
    for i, j, found in points.distances(lambda a, b: bool((a & b).any())):
        for s in (0, 1):
            ours, theirs = points.counts[i][s], points.counts[j][s]
            if not ours.any() or not theirs.any():
                continue
            best[i][s] = _nearest(found, best[i][s], theirs)
            if i != j:
                best[j][s] = _nearest(found.T, best[j][s], ours)
    return [
        jnp.stack([_kth(x, c) for x, c in zip(b, counts, strict=True)])
        for b, counts in zip(best, points.counts, strict=True)
    ]


@jax.jit
def _covered(found: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return (which rows the radii [2, tile] of columns reach, which columns those of rows reach), bool[2, tile]."""
    return (found[None] <= columns[:, None]).any(axis=2), (found[None] <= rows[:, :, None]).any(axis=1)


@jax.jit
def _balls(found: jax.Array, radii: jax.Array, reals: jax.Array, fakes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return (for each column, how many reals among the rows have it in their ball; which balls contain a fake)."""
    hit = found < radii[:, None]
    return jnp.where(hit, reals[:, None], 0).sum(axis=0), (hit & (fakes > 0)[None]).any(axis=1)
