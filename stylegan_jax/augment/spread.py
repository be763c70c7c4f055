"""The transpose of interpolating images: values are spread over the four pixels between which they were read.

Which form is fast depends on the compiler and the size. `patches` is for CPU and GPU. The compiler for TPU makes its
scatter a loop over single patches, so there small images take `products` and others `tiles` (docs/roofline.md).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from stylegan_jax.augment import axis

Pairs = tuple[jax.Array, jax.Array, jax.Array]
"""(int32[m, q] the lower of two positions, float[m, q] its weight, float[m, q] the weight of the next one)."""

TILED_SIZE = 128
"""From as many pixels as a square of this side has, `tiles` takes less time than `products`, computed for v5e."""
TILE, BOX = 32, 128
"""Sides of a tile of values, and of the box of the image that has to contain all of its positions: 4 positions per
value along an axis, or 2.8 turned by 45 degrees, while an unchanged image has 1."""
HIGHEST = jax.lax.Precision.HIGHEST


def interpolate(image: jax.Array, rows: Pairs, columns: Pairs) -> jax.Array:
    """Interpolate images between rows and between columns, by four gathers.

    Args:
        image: float[m, k, y, x].
        rows: the upper of two rows and the weights of both.
        columns: the same of the left of two columns.

    Returns:
        float[m, k, q].
    """
    (iy, *wy), (ix, *wx), width = rows, columns, image.shape[3]
    flat = image.reshape(*image.shape[:2], -1)
    read = jax.vmap(lambda planes, at: planes.at[:, at].get(mode="promise_in_bounds"))
    corners = [(wy[a] * wx[b], iy * width + ix + (a * width + b)) for a in (0, 1) for b in (0, 1)]
    return functools.reduce(jnp.add, [w[:, None] * read(flat, at) for w, at in corners])


def patches(values: jax.Array, rows: Pairs, columns: Pairs, height: int, width: int) -> jax.Array:
    """Transpose of `interpolate`: float[m, k, q] to float[m, k, height, width].

    One scatter of 2x2 patches; on CPU it takes two thirds of the time of four scatters of single values.
    """
    (iy, *wy), (ix, *wx) = rows, columns
    weights = jnp.stack([jnp.stack([a * b for b in wx], -1) for a in wy], -2)  # [m, q, 2, 2]
    own = values[..., None, None] * weights[:, None]
    where = jax.lax.ScatterDimensionNumbers((0, 2, 3), (), (1, 2))
    add = lambda out, at, patch: jax.lax.scatter_add(out, at, patch, where, mode="promise_in_bounds")
    return jax.vmap(add)(jnp.zeros((*values.shape[:2], height, width), values.dtype), jnp.stack([iy, ix], -1), own)


def products(values: jax.Array, rows: Pairs, columns: Pairs, height: int, width: int, limit: int) -> jax.Array:
    """Transpose of `interpolate`, float[m, k, q] to float[m, k, height, width], by matrix products.

    Positions are taken by pieces; their weights of all rows and columns, nearly all zero, take at most `limit` bytes.
    """
    (m, _, q), size = values.shape, values.dtype.itemsize
    piece = max(1, min(q, limit // (m * (height + width) * size)))

    def cut(x: jax.Array) -> jax.Array:
        filled = jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, -q % piece),))
        return jnp.moveaxis(filled.reshape(*x.shape[:-1], -1, piece), -2, 0)

    def add(out: jax.Array, part: tuple[jax.Array, Pairs, Pairs]) -> tuple[jax.Array, None]:
        return out + _product(*part, height, width), None

    parts = jax.tree.map(cut, (values, rows, columns))
    return jax.lax.scan(add, jnp.zeros((*values.shape[:2], height, width), values.dtype), parts)[0]


def tiles(
    values: jax.Array, rows: Pairs, columns: Pairs, grid: tuple[int, int], height: int, width: int
) -> tuple[jax.Array, jax.Array]:
    """Transpose of `interpolate` by matrix products of tiles of neighbouring values with boxes of the image.

    Args:
        values: float[m, k, q], of a grid of rows and columns, row by row.
        rows: the upper of two rows and the weights of both.
        columns: the same of the left of two columns.
        grid: (rows, columns) of values; q is their product.
        height: rows of the image, at least BOX.
        width: its columns, at least BOX.

    Returns:
        (float[m, k, height, width], bool[]): the second says whether every tile's positions lie in one box, without
        which the first is wrong.
    """

    def cut(x: jax.Array, mode: str = "constant") -> jax.Array:  # [tile, ..., value of the tile]
        x = x.reshape(*x.shape[:-1], *grid)
        x = jnp.pad(x, ((0, 0),) * (x.ndim - 2) + tuple((0, -side % TILE) for side in grid), mode=mode)
        x = x.reshape(*x.shape[:-2], x.shape[-2] // TILE, TILE, x.shape[-1] // TILE, TILE)
        x = jnp.moveaxis(x, (-4, -2), (0, 1))
        return x.reshape(-1, *x.shape[2:-2], TILE * TILE)

    def place(pairs: Pairs, extent: int) -> tuple[jax.Array, Pairs, jax.Array]:
        first = cut(pairs[0], "edge")
        start = jnp.clip(first.min(-1), 0, extent - BOX)
        inside = first - start[..., None]
        return start, (inside, cut(pairs[1]), cut(pairs[2])), inside.max() < BOX - 1

    def add(out: jax.Array, part: tuple[jax.Array, Pairs, Pairs, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        value, rows, columns, *start = part
        box = _product(value, rows, columns, BOX, BOX)

        def put(plane: jax.Array, box: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
            where = jnp.zeros_like(y), y, x
            return jax.lax.dynamic_update_slice(plane, jax.lax.dynamic_slice(plane, where, box.shape) + box, where)

        return jax.vmap(put)(out, box, *start), None

    (y, rows, fits_y), (x, columns, fits_x) = place(rows, height), place(columns, width)
    start = jnp.zeros((*values.shape[:2], height, width), values.dtype)
    return jax.lax.scan(add, start, (cut(values), rows, columns, y, x))[0], fits_y & fits_x


def folding(size: int, before: jax.Array, after: jax.Array, length: int, dtype: jnp.dtype) -> jax.Array:
    """Return float[length, unfolded], which adds up, where it is stored, what was spread over `axis.unfolded`."""
    where = axis.storage(jnp.asarray(axis.unfolded(size)), size, before, after)
    return (jnp.arange(length)[:, None] == where[None]).astype(dtype)


def _product(values: jax.Array, rows: Pairs, columns: Pairs, height: int, width: int) -> jax.Array:
    """Return what values float[m, k, q] add to an image, float[m, k, height, width]."""

    def weights(pairs: Pairs, extent: int) -> jax.Array:
        first, *both = (x[..., None] for x in pairs)
        index = jnp.arange(extent)[None, None]
        return functools.reduce(jnp.add, [jnp.where(first + i == index, w, 0) for i, w in enumerate(both)])

    left = values[..., None] * weights(rows, height)[:, None]
    return jnp.einsum("mkqy,mqx->mkyx", left, weights(columns, width), precision=HIGHEST)
