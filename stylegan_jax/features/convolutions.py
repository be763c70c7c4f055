"""Convolutions that XLA computes slowly on CPU: without padding, with a stride, by channel, of very small images.

Without padding or with a stride, the taps of a band of rows form a matrix that fits the cache, and each
band is one product; the stem of Inception runs about twice as fast. The loop goes over rows, never over the batch,
which may be split over devices. A filter per channel is a sum of shifted copies, about forty times as fast. Images of
at most 4x4 are one product over all taps: 3x3 with 512 channels, one image, forward and input gradient
together 2.3 instead of 6.9 ms at 4x4 and 1.1 instead of 40 ms at 2x2, where XLA takes its naive loop (2 x86-64 cores).
3x3 filters of many channels take half the products (Winograd's short filters, Lavin and Gray 2015, arXiv:1509.09308,
section 4, along the rows): in VGG16 1.2 to 1.7 times as fast (over sizes, 0.9 to 1.9), and up to 5e-6 of the largest
value off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from stylegan_jax.base import backend
from stylegan_jax.ops.conv import NO_PADS, Pads, conv2d

MIN_ROWS = 64
"""The library computes images with fewer output rows, unless there is a stride."""
BAND_BYTES = 4 << 20
FEW_POSITIONS = 16
"""Images with at most this many output positions are one product."""
MIN_CHANNELS, WORK_PER_IMAGE, INPUT_SIZE = 128, 1 << 25, 1 << 19
"""3x3 filters take half the products if there are at least this many channels, an image's positions times its squared
channels are at least WORK_PER_IMAGE, and the batch has more than INPUT_SIZE numbers; below that the sums cost as much
as they save."""

OF_ROWS = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
           (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
OF_FILTER = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
             (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
OF_PRODUCTS = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
"""F(4, 3): product k is that of the sums k of rows and of taps; each row of the result is a sum of products."""

Way = Callable[[jax.Array, jax.Array, int, Pads], jax.Array]


def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads, groups: int) -> jax.Array:
    """Correlate an image with a kernel as `ops.conv.conv2d` does, in the fastest way on this platform.

    Args:
        x: float[n, h, w, c_in].
        kernel: float[kh, kw, c_in / groups, c_out].
        stride: step in both axes.
        padding: ((top, bottom), (left, right)) zeros.
        groups: channel groups.

    Returns:
        float[n, h', w', c_out].
    """
    size, depth = kernel.shape[:2], kernel.shape[3]
    rows, columns = ((x.shape[i + 1] + sum(padding[i]) - size[i]) // stride + 1 for i in (0, 1))
    if backend.platform() == "cpu" and size != (1, 1):
        if groups == x.shape[3] == depth:
            return by_channel(x, kernel, stride, padding)
        if groups == 1 and (stride > 1 or (padding == NO_PADS and rows >= MIN_ROWS)):
            return banded(x, kernel, stride, padding)
        if groups == 1 and rows * columns <= FEW_POSITIONS:
            return at_once(x, kernel, padding)
        same = (size, stride, padding, groups) == ((3, 3), 1, ((1, 1), (1, 1)), 1)
        wide = x.shape[3] >= MIN_CHANNELS and rows * columns * x.shape[3] ** 2 >= WORK_PER_IMAGE
        if same and wide and x.size > INPUT_SIZE:
            return by_four_rows(x, kernel)
    return conv2d(x, kernel, padding=padding, stride=stride, groups=groups, lowering="library")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_channel(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    """Correlate each channel of float[n, h, w, c] with its own filter of float[kh, kw, 1, c], as a sum over taps."""
    return _by_channel(x, kernel, stride, padding)


def _by_channel(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    kh, kw = kernel.shape[:2]
    x = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))  # else it is computed anew for each tap
    height, width = ((size - k) // stride * stride + 1 for size, k in zip(x.shape[1:3], (kh, kw), strict=True))
    taps = [
        x[:, i : i + height : stride, j : j + width : stride] * kernel[i, j].reshape(1, 1, 1, -1)
        for i in range(kh)
        for j in range(kw)
    ]
    return functools.reduce(jnp.add, taps)


def _by_channel_forward(x, kernel, stride, padding):
    return by_channel(x, kernel, stride, padding), (x, kernel)


def _by_channel_backward(stride, padding, saved, g):
    x, kernel = saved
    by_kernel = jax.vjp(lambda k: _by_channel(x, k, stride, padding), kernel)[1](g)[0]
    return _spread_by_channel(g, kernel, stride, padding, x.shape[1:3]), by_kernel


by_channel.defvjp(_by_channel_forward, _by_channel_backward)


def _spread_by_channel(g: jax.Array, kernel: jax.Array, stride: int, padding: Pads, size: tuple[int, int]) -> jax.Array:
    """Return the gradient of `by_channel` with respect to the image: every stride-th row and column sums some of the
    taps.

    The rule that JAX derives adds padded copies: of 5x5 filters with stride 2 on eight 32x32 images of 144 channels
    it took 24 ms of CPU time, and this takes 2 (for 3x3 filters both take as long).
    """
    before = tuple(pads[0] for pads in padding)
    rows, columns = (-(-(first + length) // stride) for first, length in zip(before, size, strict=True))

    def phase(a: int, b: int) -> jax.Array:
        taps = kernel[a::stride, b::stride][::-1, ::-1]
        if not taps.size:
            return jnp.zeros((g.shape[0], rows, columns, g.shape[3]), g.dtype)
        pads = tuple(
            (k - 1, length - n) for k, length, n in zip(taps.shape, (rows, columns), g.shape[1:3], strict=False)
        )
        return _by_channel(g, taps, 1, (pads[0], pads[1]))

    x = jnp.stack([jnp.stack([phase(a, b) for b in range(stride)], axis=3) for a in range(stride)], axis=2)
    x = x.reshape(g.shape[0], rows * stride, columns * stride, g.shape[3])
    return x[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]


def at_once(x: jax.Array, kernel: jax.Array, padding: Pads) -> jax.Array:
    """Correlate with stride 1 by one product over all positions and taps. Arguments as in `conv`."""
    kh, kw, c_in, c_out = kernel.shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    taps = [x[:, i : i + rows, j : j + columns] for i in range(kh) for j in range(kw)]
    product = jnp.matmul(jnp.concatenate(taps, axis=-1).reshape(-1, kh * kw * c_in), kernel.reshape(-1, c_out))
    return product.reshape(x.shape[0], rows, columns, c_out)


def banded(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    """Correlate by bands of rows; gradients are those of `ops.conv.conv2d`. Arguments as in `conv`."""
    return _forward_by(_banded, x, kernel, stride, padding)


def by_four_rows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlate 3x3 filters with float[n, h, w, c], a zero around it; gradients are those of `ops.conv.conv2d`.

    Four rows of the result come from six rows of the image, by six products instead of twelve.
    """
    return _forward_by(_by_four_rows, x, kernel, 1, ((1, 1), (1, 1)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3, 4))
def _forward_by(way: Way, x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    return way(x, kernel, stride, padding)


def _forward(way, x, kernel, stride, padding):
    return way(x, kernel, stride, padding), (x, kernel)


def _backward(way, stride, padding, saved, g):
    return jax.vjp(lambda x, kernel: conv2d(x, kernel, stride=stride, padding=padding), *saved)[1](g)


_forward_by.defvjp(_forward, _backward)


def _banded(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    kh, kw, c_in, c_out = kernel.shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = ((size - k) // stride + 1 for size, k in zip(x.shape[1:3], (kh, kw), strict=True))
    row_bytes = x.shape[0] * columns * kh * kw * c_in * x.dtype.itemsize
    band = max(1, min(rows, BAND_BYTES // max(row_bytes, 1)))
    matrix = kernel.reshape(-1, c_out)

    def step(index: jax.Array, out: jax.Array) -> jax.Array:
        first = jnp.minimum(index * band, rows - band)  # the last band may overlap the one before
        part = jax.lax.dynamic_slice_in_dim(x, first * stride, (band - 1) * stride + kh, 1)
        height, width = (band - 1) * stride + 1, (columns - 1) * stride + 1
        taps = [part[:, i : i + height : stride, j : j + width : stride] for i in range(kh) for j in range(kw)]
        product = jnp.matmul(jnp.concatenate(taps, axis=-1), matrix)
        return jax.lax.dynamic_update_slice_in_dim(out, product, first, 1)

    out = jnp.zeros((x.shape[0], rows, columns, c_out), x.dtype)
    return jax.lax.fori_loop(0, -(-rows // band), step, out)


def _by_four_rows(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    n, height, width, _ = x.shape
    tiles = -(-height // 4)
    (top, bottom), columns = padding
    x = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (top, bottom + 4 * tiles - height), (0, 0), (0, 0))))
    rows = [x[:, i : i + 4 * tiles - 3 : 4] for i in range(6)]
    filters = [_weighted(weights, list(kernel)) for weights in OF_FILTER]
    products = [
        conv2d(_weighted(weights, rows), f[None], padding=((0, 0), columns), stride=stride, lowering="library")
        for weights, f in zip(OF_ROWS, filters, strict=True)
    ]
    out = jax.lax.optimization_barrier(jnp.stack([_weighted(weights, products) for weights in OF_PRODUCTS], axis=2))
    return out.reshape(n, 4 * tiles, width, -1)[:, :height]


def _weighted(weights: tuple[float, ...], parts: list[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, [w * part for w, part in zip(weights, parts, strict=True) if w])
