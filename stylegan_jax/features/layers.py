"""The common parts of feature networks: convolution with bias, pooling, resizing, and folded batch normalisation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import backend
from stylegan_jax.features import convolutions
from stylegan_jax.features.network import Tensors
from stylegan_jax.ops.conv import NO_PADS, Pads

Layer = Mapping[str, jax.Array]
"""'kernel' float32[kh, kw, c_in / groups, c_out], or float32[c_in, c_out], and 'bias' float32[c_out]."""


def conv(x: jax.Array, layer: Layer, *, stride: int = 1, padding: Pads | None = None, groups: int = 1) -> jax.Array:
    """Correlate an image with a kernel and add the bias.

    Args:
        x: float[n, h, w, c_in].
        layer: kernel and bias.
        stride: step in both axes.
        padding: ((top, bottom), (left, right)) zeros; None: half the kernel, so that stride 1 keeps the size.
        groups: channel groups.

    Returns:
        float[n, h', w', c_out].
    """
    kernel = layer["kernel"]
    if padding is None:
        padding = half(kernel.shape)
    y = convolutions.conv(x, kernel, stride, padding, groups)
    return y + _row(layer["bias"], y)


def dense(x: jax.Array, layer: Layer) -> jax.Array:
    """Return x @ kernel + bias for float[..., c_in]."""
    return jnp.matmul(x, layer["kernel"]) + _row(layer["bias"], x)


def _row(bias: jax.Array, x: jax.Array) -> jax.Array:
    return bias.reshape((1,) * (x.ndim - 1) + (-1,))


def half(kernel_shape: Sequence[int]) -> Pads:
    """Return the padding of half a kernel of odd size."""
    (top, left) = (size // 2 for size in kernel_shape[:2])
    return (top, top), (left, left)


def same(size: Sequence[int], kernel: int, stride: int) -> Pads:
    """Return TensorFlow's SAME padding of an image (h, w): the output is size / stride, rounded up."""
    totals = [max((-(-s // stride) - 1) * stride + kernel - s, 0) for s in size]
    (top, bottom), (left, right) = ((t // 2, t - t // 2) for t in totals)
    return (top, bottom), (left, right)


def max_pool(x: jax.Array, size: int, stride: int, padding: Pads = NO_PADS) -> jax.Array:
    """Return the maxima of windows of float[n, h, w, c]; a last window that does not fit is dropped.

    On CPU these are maxima of shifted images: XLA merges a window's reduction with the products before and after it
    into one program of its library, where VGG16's last pool and dense layers took 1.4 s together and 0.09 s separately.
    """
    if backend.platform() == "cpu":
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
        height, width = ((s - size) // stride * stride + 1 for s in x.shape[1:3])
        views = [x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]
        return functools.reduce(jnp.maximum, views)
    pads = ((0, 0), *padding, (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), pads)


def average_pool(x: jax.Array) -> jax.Array:
    """Return the 3x3 means of float[n, h, w, c]; at the border only over pixels inside (TensorFlow's SAME)."""
    rows, columns = (jnp.asarray(_window_sums(size)) for size in x.shape[1:3])
    x = sum_of_three(sum_of_three(x, 1), 2)
    return x / (rows[None, :, None, None] * columns[None, None, :, None])


def _window_sums(size: int) -> np.ndarray:
    return (
        np.convolve(np.ones(size, np.float32), np.ones(3, np.float32), "same") if size > 1 else np.ones(1, np.float32)
    )


def sum_of_three(x: jax.Array, axis: int) -> jax.Array:
    """Return each sample plus both neighbours along an axis, zeros outside."""
    pads = [(0, 0)] * x.ndim
    pads[axis] = (1, 1)
    padded, size = jnp.pad(x, pads), x.shape[axis]
    return sum(jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3))  # type: ignore[return-value]


def resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize bilinearly as TensorFlow 1 and the official detectors do: sample i lies at i * (old / new), no smoothing.

    Args:
        x: float[n, h, w, c].
        size: (height, width) of the result.

    Returns:
        float[n, *size, c].
    """
    for axis in (1, 2):
        old, new = x.shape[axis], size[axis - 1]
        if old == new:
            continue
        at = np.arange(new, dtype=np.float32) * np.float32(old / new)
        low = np.minimum(at.astype(np.int32), old - 1)
        high = np.minimum(low + 1, old - 1)
        weight = jnp.asarray(at - low, x.dtype).reshape((1, -1, 1, 1) if axis == 1 else (1, 1, -1, 1))
        below = x.take(low, axis=axis)
        x = below + (x.take(high, axis=axis) - below) * weight
    return x


def resize_centred(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize as `resize` does, but with half-pixel centres: sample i lies at (i + 0.5) * (old / new) - 0.5."""
    if x.shape[1:3] == tuple(size):
        return x
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "linear", antialias=False)


def normalise(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Return (images - mean) / std for float[n, h, w, 3]; both in units of [0, 255]."""
    shift, scale = (np.asarray(v, np.float32).reshape(1, 1, 1, -1) for v in (mean, std))
    return (images.astype(jnp.float32) - shift) / scale


def conv_layer(weight: np.ndarray, bias: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return the layer of a PyTorch convolution [c_out, c_in / groups, kh, kw] or linear map [c_out, c_in]."""
    order = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
    kernel = np.ascontiguousarray(weight.transpose(order), np.float32)
    offset = np.zeros(len(weight), np.float32) if bias is None else np.asarray(bias, np.float32)
    return {"kernel": kernel, "bias": offset}


def folded(tensors: Tensors, conv: str, norm: str, eps: float) -> dict[str, np.ndarray]:
    """Return the layer of a PyTorch convolution without bias and the batch normalisation after it, at inference.

    Args:
        tensors: '<conv>.weight', '<norm>.weight', '.bias', '.running_mean', '.running_var'.
        conv: name of the convolution.
        norm: name of the batch normalisation.
        eps: the batch normalisation's addend to the variance.
    """
    gamma, beta, mean, var = (
        np.float64(tensors[f"{norm}.{part}"]) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(var + eps)
    return conv_layer(np.float64(tensors[f"{conv}.weight"]) * scale[:, None, None, None], beta - mean * scale)


def norm_shapes(norm: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a PyTorch batch normalisation."""
    return {f"{norm}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
