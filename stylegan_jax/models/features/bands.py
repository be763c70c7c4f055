"""Convolution for inference on CPU: a few output rows at a time, each as one matrix product.

XLA's own convolution on CPU is good on small images and slow on large ones and with a stride. Here the taps of a band
of rows lie side by side in a matrix that fits the cache; the stem of Inception runs about twice as fast. The loop goes
over rows, never over the batch, which may be split over devices.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from stylegan_jax.ops.conv import Pads, conv2d

MIN_ROWS = 64
"""Images with fewer output rows are left to the library, but for those with a stride."""
BAND_BYTES = 4 << 20


def better(rows: int, kernel_shape: tuple[int, ...], stride: int, groups: int) -> bool:
    """Return whether `conv` is the faster way to `rows` output rows, on this platform."""
    if jax.default_backend() != "cpu" or groups > 1 or kernel_shape[:2] == (1, 1):
        return False
    return stride > 1 or rows >= MIN_ROWS


def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Pads) -> jax.Array:
    """Correlate an image with a kernel as `ops.conv.conv2d` does; gradients are that one's.

    Args:
        x: float[n, h, w, c_in].
        kernel: float[kh, kw, c_in, c_out].
        stride: step in both axes.
        padding: ((top, bottom), (left, right)) zeros.

    Returns:
        float[n, h', w', c_out].
    """
    return _banded(x, kernel, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
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


def _forward(x, kernel, stride, padding):
    return _banded(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, g):
    return jax.vjp(lambda x, kernel: conv2d(x, kernel, stride=stride, padding=padding), *saved)[1](g)


_banded.defvjp(_forward, _backward)
