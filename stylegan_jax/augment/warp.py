"""Resample images by one affine map each, at twice the resolution and without aliasing (ADA App. B).

What is computed: reflect the image over the margins that the batch's transformations need, upsample by two with the
sym6 low-pass filter, interpolate linearly at the mapped positions (zeros outside), downsample by two with the reversed
filter. How: see `axis` for the reflection. The margins are those of the whole batch, as published, so that a sample
depends on the other samples' transformations, but only by the filter's tails at the margin (about 1e-5).

The map is linear in the image. It is one `linear_call`: its transpose is written out, serves every order of derivative,
and stores nothing but the matrices. Matrices get no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call

from stylegan_jax.augment import axis
from stylegan_jax.ops import fir

LOWERINGS = ("matrix", "filter")
MATRIX_SIZE = 256
"""Up to this many pixels an axis is upsampled by a product with a matrix: fewer and smaller temporary arrays. Longer
axes are filtered, whose cost per pixel does not grow with the size."""
SCRATCH = {"cpu": 2**18, "other": 2**28}
"""Bytes of upsampled image that may exist at a time even if the images are fewer bytes. Small on CPU, where caches
count; large elsewhere, where few large programs are fastest."""

HIGHEST = jax.lax.Precision.HIGHEST
Blocks = Callable[[jax.Array, jax.Array], jax.Array]


class Margins(NamedTuple):
    """Pixels of reflection at the four sides, int32[]."""

    left: jax.Array
    top: jax.Array
    right: jax.Array
    bottom: jax.Array


def margins(g_inv: jax.Array, h: int, w: int) -> Margins:
    """Return the reflection that the corners of all samples need, with room for the filters, at most a whole image."""
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


def _bilinear(image: jax.Array, ys: tuple[jax.Array, ...], xs: tuple[jax.Array, ...]) -> jax.Array:
    """Interpolate stored images between rows and between columns.

    Args:
        image: float[m, k, y, x].
        ys: (int32[m, q], float[m, q], float[m, q]), the upper of two rows and the weights of both.
        xs: the same of columns.

    Returns:
        float[m, k, q]. Four gathers forward; backward, one scatter of 2x2 patches, faster on CPU than four.
    """
    shape, width = image.shape, image.shape[3]
    patch = jax.lax.ScatterDimensionNumbers((0, 2, 3), (), (1, 2))

    def gather(where, image):
        (iy, *wy), (ix, *wx) = where
        flat = image.reshape(*shape[:2], -1)
        read = jax.vmap(lambda planes, at: planes.at[:, at].get(mode="promise_in_bounds"))
        corners = [(wy[a] * wx[b], iy * width + ix + (a * width + b)) for a in (0, 1) for b in (0, 1)]
        return sum(w[:, None] * read(flat, at) for w, at in corners)

    def scatter(where, ct):
        (iy, *wy), (ix, *wx) = where
        weights = jnp.stack([jnp.stack([a * b for b in wx], -1) for a in wy], -2)  # [m, q, 2, 2]
        updates = ct[..., None, None] * weights[:, None]
        add = lambda out, at, u: jax.lax.scatter_add(out, at, u, patch, mode="promise_in_bounds")
        return jax.vmap(add)(jnp.zeros(shape, ct.dtype), jnp.stack([iy, ix], -1), updates)

    return linear_call(gather, scatter, (ys, xs), image)


def _resampler(h: int, w: int, margin: Margins, dtype, lowering: str) -> Blocks:
    """Return the map from (planes float[m, k, h, w], their matrices float[m, 3, 3]) to resampled planes."""
    x_range, y_range = (margin.left, margin.right), (margin.top, margin.bottom)
    if lowering == "matrix":
        up_x, up_y = axis.up_matrix(w, *x_range, dtype), axis.up_matrix(h, *y_range, dtype)
        down_x, down_y = (jnp.asarray(axis.down_matrix(size), dtype) for size in (w, h))
        times = lambda a, b: jnp.matmul(a, b, precision=HIGHEST)
        both = lambda y, x, v: times(y, times(v, x.T))
        up = lambda planes: both(up_y, up_x, planes)
        down = lambda planes: both(down_y, down_x, planes)
    else:

        def up(planes: jax.Array) -> jax.Array:
            rows = axis.up_filter(planes.reshape(-1, h, w), *x_range)
            both = axis.up_filter(rows.swapaxes(1, 2), *y_range).swapaxes(1, 2)
            return both.reshape(*planes.shape[:2], *both.shape[1:])

        def down(planes: jax.Array) -> jax.Array:
            flat = planes.reshape(-1, *planes.shape[2:], 1)
            return fir.upfirdn2d(flat, axis.SYM6, down=2, flip_filter=True).reshape(*planes.shape[:2], h, w)

    def resample(planes: jax.Array, g_inv: jax.Array) -> jax.Array:
        u, v = jax.vmap(lambda g: positions(g, h, w))(g_inv)
        find = lambda at, size, ends: axis.address(at.reshape(at.shape[0], -1), size, *ends)
        samples = _bilinear(up(planes), find(v, h, y_range), find(u, w, x_range))
        return down(samples.reshape(*planes.shape[:2], *u.shape[1:]))

    return resample


def block_size(n: int, h: int, w: int, c: int, itemsize: int) -> tuple[int, int]:
    """Return (samples, channels) that are resampled at a time, of n samples with c channels each.

    As many as keep the upsampled planes within the bytes of the images, or within SCRATCH, but at least one plane.
    """
    floor = SCRATCH["cpu" if jax.default_backend() == "cpu" else "other"]
    planes = max(n * h * w * c * itemsize, floor) // (axis.up_length(h) * axis.up_length(w) * itemsize)
    if planes < c:
        return 1, 1
    return max(b for b in range(1, n + 1) if n % b == 0 and b * c <= planes), c


def _by_blocks(images: jax.Array, g_inv: jax.Array, shards: int, each: Blocks) -> jax.Array:
    """Apply `each` to blocks of planes, one after the other; of every shard a part of each block."""
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


def warp(images: jax.Array, g_inv: jax.Array, *, shards: int = 1, lowering: str | None = None) -> jax.Array:
    """Resample each image by the inverse of its transformation.

    Args:
        images: float[n, h, w, c], h and w at least 2.
        g_inv: float[n, 3, 3], from centred output pixel coordinates (x, y, 1) to input ones; no gradient.
        shards: over how many devices axis 0 is split; must divide n. It decides what is computed one after the other,
            so that no device waits for another's images; results do not depend on it.
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

    def forward(where, x):
        return _by_blocks(x, where[0], shards, _resampler(h, w, where[1], x.dtype, lowering))

    def backward(where, ct):
        resample = _resampler(h, w, where[1], ct.dtype, lowering)
        transposed = lambda planes, g: jax.linear_transpose(lambda v: resample(v, g), planes)(planes)[0]
        return _by_blocks(ct, where[0], shards, transposed)

    return linear_call(forward, backward, (g_inv, margins(g_inv, h, w)), images)
