"""Modulated convolution (SG2 §2.2), with modulation applied to activations rather than weights.

conv(x·s, W)·d equals convolving each image with its own weights s·W·d, but keeps one shared kernel and one plain
convolution (design decision 7). `d` is computed in float32 whatever the activations are.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from stylegan_jax.ops import conv, fir


def demodulation(w: jax.Array, s: jax.Array, eps: float = 1e-8) -> jax.Array:
    """Return d[n, c_out] = 1 / sqrt(sum over c_in, kh, kw of (s w)^2 + eps) (SG2 eq. 3).

    Args:
        w: float[kh, kw, c_in, c_out].
        s: float[n, c_in], styles.
        eps: added inside the root.
    """
    taps = jnp.split(jnp.square(w).reshape(-1, *w.shape[2:]), w.shape[0] * w.shape[1])
    energy = sum(taps[1:], taps[0])[0]  # added up, since a reduction over the leading axis is slow on CPU
    return jax.lax.rsqrt(jnp.square(s) @ energy + eps)


def modulated_conv2d(
    x: jax.Array,
    w: jax.Array,
    s: jax.Array,
    f: fir.Filter = None,
    *,
    noise: jax.Array | None = None,
    up: int = 1,
    down: int = 1,
    padding: fir.Scale = 0,
    demodulate: bool = True,
    flip_weight: bool = True,
) -> jax.Array:
    """Convolve with weights scaled per image by its style.

    In float16, weights are first divided by their largest value per output channel and the root of the fan-in, and
    styles by their largest value per image, against overflow (ADA App. C); demodulation undoes both.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in, c_out].
        s: float[n, c_in], styles.
        f: FIR filter of the resampling.
        noise: float broadcastable to [n, h', w', 1]; added after demodulation.
        up: integer enlargement.
        down: integer reduction.
        padding: as in `conv.conv2d_resample`.
        demodulate: normalise each output map to unit expected variance.
        flip_weight: True correlates; False is a true convolution (upsampling layers).

    Returns:
        float[n, h', w', c_out], dtype of `x`.
    """
    dtype = x.dtype
    if dtype == jnp.float16 and demodulate:
        largest = lambda v, axis: jax.lax.stop_gradient(jnp.max(jnp.abs(v), axis=axis, keepdims=True))
        w = w / (largest(w, (0, 1, 2)) * math.sqrt(math.prod(w.shape[:3])))
        s = s / largest(s, 1)
    x = x * s[:, None, None].astype(dtype)
    x = conv.conv2d_resample(x, w.astype(dtype), f, up=up, down=down, padding=padding, flip_weight=flip_weight)
    if demodulate:
        x = x * demodulation(w, s)[:, None, None].astype(dtype)
    return x if noise is None else x + noise.astype(dtype)


def modulated_conv2d_prenorm(
    x: jax.Array,
    w: jax.Array,
    s: jax.Array,
    *,
    demodulate: bool = True,
    padding: fir.Scale = 0,
    input_gain: jax.Array | None = None,
) -> jax.Array:
    """Convolve with weights scaled per image by its style, both brought to unit RMS first (StyleGAN3).

    With `demodulate`, weights are normalised per output channel and styles over the whole array, without an epsilon:
    the images of a batch affect each other through the epsilon of demodulation. Without it neither is normalised.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in, c_out]; applied as a correlation.
        s: float[n, c_in], styles.
        demodulate: normalise weights and styles, then each output map to unit expected variance.
        padding: as in `fir.upfirdn2d`: one integer, (x, y) or four.
        input_gain: float[], [c_in] or [n, c_in]; scales the input channels and is not part of demodulation.

    Returns:
        float[n, h + pad_y - kh + 1, w + pad_x - kw + 1, c_out], dtype of `x`.
    """
    dtype = x.dtype
    if demodulate:
        w = w * jax.lax.rsqrt(jnp.mean(jnp.square(w), axis=(0, 1, 2), keepdims=True))
        s = s * jax.lax.rsqrt(jnp.mean(jnp.square(s)))
    scale = s if input_gain is None else s * input_gain
    x = x * scale[:, None, None].astype(dtype)
    x = conv.conv2d_resample(x, w.astype(dtype), padding=padding)
    return x * demodulation(w, s)[:, None, None].astype(dtype) if demodulate else x
