"""Resample images by one affine map each, at twice the resolution and without aliasing (ADA App. B).

The image is reflected over the margins that the batch's transformations need, upsampled by two with the sym6 low-pass
filter, interpolated linearly at the mapped positions (zeros outside), and downsampled by two with the reversed filter;
`axis` explains the reflection. The margins are those of the whole batch, as published, so that a sample
depends on the other samples' transformations, but only by the filter's tails at the margin (about 1e-5).

The map is linear in the image, and its transpose is written out, which gives every order of reverse-mode derivative and
stores only the matrices. Matrices have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.augment import axis, spread
from stylegan_jax.base import backend
from stylegan_jax.ops import fir

LOWERINGS = ("matrix", "filter")
MATRIX_SIZE = 256
"""Up to this many pixels an axis is upsampled by a product with a matrix: fewer and smaller temporary arrays. Longer
axes are filtered, at a cost per pixel that does not grow with the size."""
SCRATCH = {"cpu": 2**18, "other": 2**28}
"""Bytes of upsampled images that may exist at a time, even if the images have fewer. Small on CPU, where caches matter;
large elsewhere, where few large programs are fastest."""

HIGHEST = jax.lax.Precision.HIGHEST
Planes = Callable[[jax.Array, jax.Array], jax.Array]
Linear = Callable[[Any, jax.Array], jax.Array]


class Margins(NamedTuple):
    """Pixels of reflection at the four sides, int32[]."""

    left: jax.Array
    top: jax.Array
    right: jax.Array
    bottom: jax.Array


def margins(g_inv: jax.Array, h: int, w: int) -> Margins:
    """Return the margins that the corners of all samples need, with room for the filters, at most a whole image."""
    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = jnp.asarray([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1, 1, 1, 1]], g_inv.dtype)
    seen = jnp.matmul(g_inv[:, :2], corners[None], precision=HIGHEST)  # [n, xy, corner]
    reach = jnp.concatenate([(-seen).max(axis=(0, 2)), seen.max(axis=(0, 2))])
    room = jnp.asarray([2 * axis.REACH - cx, 2 * axis.REACH - cy] * 2, g_inv.dtype)
    limit = jnp.asarray([w - 1, h - 1] * 2, g_inv.dtype)
    return Margins(*jnp.ceil(jnp.clip(reach + room, 0, limit)).astype(jnp.int32))


def positions(g_inv: jax.Array, h: int, w: int) -> tuple[jax.Array, jax.Array]:
    """Return where the samples of twice the resolution come from: (x, y), each float[2 h + TAPS - 2, 2 w + TAPS - 2].

    Args:
        g_inv: float[3, 3].
        h: height of the image.
        w: width.

    Both count from the first pixel in steps of half a pixel.
    """
    grid = lambda size: (jnp.arange(2 * size + axis.TAPS - 2, dtype=g_inv.dtype) + 1 - axis.TAPS // 2) / 2
    x, y = (grid(w) - (w - 1) / 2)[None, :], (grid(h) - (h - 1) / 2)[:, None]
    source = lambda row: row[0] * x + row[1] * y + row[2]
    return 2 * source(g_inv[0]) + (w - 1), 2 * source(g_inv[1]) + (h - 1)


def _resampler(h: int, w: int, margin: Margins, dtype: Any, lowering: str, shards: int) -> tuple[Planes, Planes]:
    """Return the map from (planes float[m, k, h, w], matrices float[m, 3, 3]) to planes, and its transpose."""
    x_range, y_range = (margin.left, margin.right), (margin.top, margin.bottom)
    fine_h, fine_w = 2 * h + axis.TAPS - 2, 2 * w + axis.TAPS - 2
    if lowering == "matrix":
        up_x, up_y = axis.up_matrix(w, *x_range, dtype), axis.up_matrix(h, *y_range, dtype)
        down_x, down_y = (jnp.asarray(axis.down_matrix(size), dtype) for size in (w, h))
        times = lambda a, b: jnp.matmul(a, b, precision=HIGHEST)
        up = lambda planes: times(up_y, times(planes, up_x.T))
        down = lambda planes: times(down_y, times(planes, down_x.T))
    else:

        def up(planes: jax.Array) -> jax.Array:
            rows = axis.up_filter(planes.reshape(-1, h, w), *x_range)
            both = axis.up_filter(rows.swapaxes(1, 2), *y_range).swapaxes(1, 2)
            return both.reshape(*planes.shape[:2], *both.shape[1:])

        def down(planes: jax.Array) -> jax.Array:
            flat = planes.reshape(-1, *planes.shape[2:], 1)
            return fir.upfirdn2d(flat, axis.SYM6, down=2, flip_filter=True).reshape(*planes.shape[:2], h, w)

    def neighbours(g_inv: jax.Array) -> tuple[spread.Pairs, spread.Pairs]:
        u, v = jax.vmap(lambda g: positions(g, h, w))(g_inv)
        flat = lambda at: at.reshape(at.shape[0], -1)
        return axis.neighbours(flat(v), h, *y_range), axis.neighbours(flat(u), w, *x_range)

    def stored(rows: spread.Pairs, columns: spread.Pairs) -> tuple[spread.Pairs, spread.Pairs]:
        return (axis.storage(rows[0], h, *y_range), *rows[1:]), (axis.storage(columns[0], w, *x_range), *columns[1:])

    def forward(planes: jax.Array, g_inv: jax.Array) -> jax.Array:
        fine = spread.interpolate(up(planes), *stored(*neighbours(g_inv)))
        return down(fine.reshape(*planes.shape[:2], fine_h, fine_w))

    def transpose(planes: jax.Array, g_inv: jax.Array) -> jax.Array:
        like = lambda *shape: jnp.zeros((*planes.shape[:2], *shape), planes.dtype)
        (fine,) = jax.vjp(down, like(fine_h, fine_w))[1](planes)
        fine, pairs = fine.reshape(*planes.shape[:2], -1), neighbours(g_inv)
        length = axis.up_length(h), axis.up_length(w)
        if backend.platform() != "tpu":
            fine_image = spread.patches(fine, *stored(*pairs), *length)
        elif h * w < spread.TILED_SIZE**2 or len(axis.unfolded(min(h, w))) < spread.BOX:
            fine_image = spread.products(fine, *stored(*pairs), *length, SCRATCH["other"] * shards)
        else:
            fine_image = by_tiles(fine, *pairs)
        return jax.vjp(up, like(h, w))[1](fine_image)[0]

    def by_tiles(fine: jax.Array, rows: spread.Pairs, columns: spread.Pairs) -> jax.Array:
        y, x = axis.unfolded(h), axis.unfolded(w)
        from_first = (rows[0] - y[0], *rows[1:]), (columns[0] - x[0], *columns[1:])
        image, fits = spread.tiles(fine, *from_first, (fine_h, fine_w), len(y), len(x))
        fold_y = spread.folding(h, *y_range, axis.up_length(h), fine.dtype)
        fold_x = spread.folding(w, *x_range, axis.up_length(w), fine.dtype)
        folded = lambda: jnp.matmul(fold_y, jnp.matmul(image, fold_x.T, precision=HIGHEST), precision=HIGHEST)
        return jax.lax.cond(fits, folded, lambda: by_values(fine, rows, columns))

    def by_values(fine: jax.Array, rows: spread.Pairs, columns: spread.Pairs) -> jax.Array:
        image = jnp.zeros((*fine.shape[:2], axis.up_length(h), axis.up_length(w)), fine.dtype)
        return jax.vjp(lambda image: spread.interpolate(image, *stored(rows, columns)), image)[1](fine)[0]

    return forward, transpose


def block_size(n: int, h: int, w: int, c: int, itemsize: int) -> tuple[int, int]:
    """Return (samples, channels) that are resampled at a time, of n samples with c channels each.

    As many as fit if the upsampled planes may have the bytes of the images, or SCRATCH, but at least one plane.
    """
    floor = SCRATCH["cpu" if backend.platform() == "cpu" else "other"]
    planes = max(n * h * w * c * itemsize, floor) // (axis.up_length(h) * axis.up_length(w) * itemsize)
    if planes < c:
        return 1, 1
    return max(b for b in range(1, n + 1) if n % b == 0 and b * c <= planes), c


def _by_blocks(images: jax.Array, g_inv: jax.Array, shards: int, each: Planes) -> jax.Array:
    """Apply `each` to blocks of planes, one after the other; each block has a part of every shard."""
    total, h, w, c = images.shape
    n = total // shards
    b, k = block_size(n, h, w, c, images.dtype.itemsize)
    split, matrices = images.reshape(shards, n, h, w, c), g_inv.reshape(shards, n, 3, 3)

    def body(i: jax.Array, out: jax.Array) -> jax.Array:
        at, channel = jax.lax.div(i, c // k) * b, jax.lax.rem(i, c // k) * k
        block = jax.lax.dynamic_slice(split, (0, at, 0, 0, channel), (shards, b, h, w, k))
        g = jax.lax.dynamic_slice(matrices, (0, at, 0, 0), (shards, b, 3, 3)).reshape(-1, 3, 3)
        planes = jnp.moveaxis(block.reshape(-1, h, w, k), -1, 1)
        done = jnp.moveaxis(each(planes, g), 1, -1).reshape(block.shape)
        return jax.lax.dynamic_update_slice(out, done, (0, at, 0, 0, channel))

    if (b, k) == (n, c):
        return jnp.moveaxis(each(jnp.moveaxis(images, -1, 1), g_inv), 1, -1)
    return jax.lax.fori_loop(0, (n // b) * (c // k), body, jnp.zeros_like(split)).reshape(images.shape)


def transposable(forward: Linear, backward: Linear) -> Linear:
    """Return forward(where, x), linear in x, with backward(where, ct) as its transpose and the reverse."""

    @jax.custom_vjp
    def call(where, x):
        return forward(where, x)

    def rule(where, ct):
        return None, transposable(backward, forward)(where, ct)

    call.defvjp(lambda where, x: (call(where, x), where), rule)
    return call


def warp(images: jax.Array, g_inv: jax.Array, *, shards: int = 1, lowering: str | None = None) -> jax.Array:
    """Resample each image by the inverse of its transformation.

    Args:
        images: float[n, h, w, c], h and w at least 2.
        g_inv: float[n, 3, 3], from centred output pixel coordinates (x, y, 1) to input ones; no gradient.
        shards: the number of devices over which axis 0 is split; must divide n. Blocks are chosen by it so that no
            device waits for another's images; results do not depend on it.
        lowering: how an axis is upsampled, 'matrix' or 'filter'; None chooses by size.

    Returns:
        float[n, h, w, c]. The identity is resampled too, which leaves a rounding error.

    Raises:
        ValueError: an image side of 1 pixel, or shards that do not divide n.
    """
    n, h, w, _ = images.shape
    if min(h, w) < 2:
        raise ValueError(f"images are {h}x{w}; reflection needs at least 2 pixels each way")
    if n % shards:
        raise ValueError(f"{n} images cannot be split over {shards} shards; the number of devices must divide them")
    if lowering is None:
        lowering = "matrix" if max(h, w) <= MATRIX_SIZE else "filter"
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering {lowering!r}; known: {', '.join(LOWERINGS)}")
    g_inv = jax.lax.stop_gradient(g_inv).astype(images.dtype)

    def blockwise(which: int) -> Linear:
        def run(where: tuple[jax.Array, Margins], x: jax.Array) -> jax.Array:
            g_inv, margin = where
            return _by_blocks(x, g_inv, shards, _resampler(h, w, margin, x.dtype, lowering, shards)[which])

        return run

    return transposable(blockwise(0), blockwise(1))((g_inv, margins(g_inv, h, w)), images)
