"""Leaky ReLU between an upsampling and a downsampling, so that it creates little aliasing (SG3 App. D)."""

from __future__ import annotations

import math

import jax

from stylegan_jax.ops import fir
from stylegan_jax.ops.bias_act import bias_act


def filtered_lrelu(
    x: jax.Array,
    b: jax.Array | None = None,
    fu: fir.Filter = None,
    fd: fir.Filter = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: fir.Scale = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> jax.Array:
    """Add a bias, upsample, apply leaky ReLU with gain and clamp, downsample.

    This is the reference path: the operations one after the other, the enlarged image in memory.

    Source: SG3 App. D.

    Args:
        x: float[n, h, w, c].
        b: float[c] or None; added before upsampling, so the padding stays zero.
        fu: upsampling filter of `fir.setup_filter`, or None for the identity.
        fd: downsampling filter, likewise.
        up: integer enlargement; the inserted zeros are made up for by the gain up^2.
        down: integer reduction.
        padding: as in `fir.upfirdn2d`; refers to the upsampled image.
        gain: multiplies the activation.
        slope: of the negative side.
        clamp: bound of the absolute value after the gain, before downsampling; None: no bound.
        flip_filter: correlate with both filters rather than convolve.

    Returns:
        float[n, (h' - fd_h) // down + 1, (w' - fd_w) // down + 1, c], dtype of `x`, where the enlarged image has
        h' = h*up + pad_y - fu_h + 1 and w' = w*up + pad_x - fu_w + 1.
    """
    if b is not None:
        x = x + b.astype(x.dtype)
    x = fir.upfirdn2d(x, fu, up=up, padding=padding, gain=up**2, flip_filter=flip_filter)
    x = bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return fir.upfirdn2d(x, fd, down=down, flip_filter=flip_filter)
