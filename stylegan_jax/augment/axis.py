"""One axis of the geometric resampling: reflect, cut off at the margins, upsample by two, and look up samples.

The published pipe pads the image by reflection, by margins that depend on the drawn transformations, and upsamples the
result (ADA App. B). Here nothing is padded by the margins. Upsampled, an endlessly reflected axis repeats itself:
positions 0 … 4 (size - 1) in twice the resolution hold all there is, and any other position maps to one of them. (One
half is not the mirror image of the other, as the filter is not symmetric.) The margin matters only near the two ends of
the padded image, where the filter sees zeros: STRIP positions at each end have rows of their own. The
upsampled axis is therefore stored as three segments,

    low end [STRIP] | one period [4 * (size - 1) + 1] | high end [STRIP]

whose lengths are static; the margins decide, as traced integers, what the ends contain and which segment a position
reads. Neighbouring positions j and j + 1 are always neighbours in storage, for linear interpolation.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import backend
from stylegan_jax.ops import fir

# Daubechies' least asymmetric wavelet of order 6, low-pass, normalised to sum 1.
SYM6 = fir.setup_filter(
    [
        0.015404109327027373,
        0.0034907120842174702,
        -0.11799011114819057,
        -0.048311742585633,
        0.4910559419267466,
        0.787641141030194,
        0.3379294217276218,
        -0.07263752278646252,
        -0.021060292512300564,
        0.04472490177066578,
        0.0017677118642428036,
        -0.007800708325034148,
    ]
)
TAPS = SYM6.size
REACH = TAPS // 4  # how many source pixels the filter sees to either side
STRIP = 7
"""Positions stored at each end: one outside the padded image, the five that the cut reaches, one more neighbour."""


def up_length(size: int) -> int:
    """Return how many upsampled positions are stored for an axis of `size` pixels."""
    return 4 * (size - 1) + 1 + 2 * STRIP


def reflect(at: Any, size: int, xp: Any = jnp) -> Any:
    """Return the pixel at position `at` of an axis of `size` pixels that is reflected without repeating its ends."""
    at = xp.abs(at) % (2 * (size - 1))
    return xp.where(at < size, at, 2 * (size - 1) - at)


def _sources(j: Any, xp: Any = jnp) -> tuple[Any, Any]:
    """Return (source pixels before reflection [r, TAPS], which taps meet a pixel [r, TAPS]) of upsampled positions."""
    at = j[:, None] + np.arange(TAPS)[None] - TAPS // 2
    return at >> 1, (at & 1) == 0


UP = 2 * SYM6[::-1].astype(np.float64)  # as a correlation; the gain makes up for the zeros between samples


@functools.cache
def period_matrix(size: int) -> np.ndarray:
    """Return float64[4 * (size - 1) + 1, size]: the upsampled period from the pixels."""
    j = np.arange(4 * (size - 1) + 1)
    pixel, real = _sources(j, np)
    out = np.zeros([j.size, size])
    np.add.at(out, (np.broadcast_to(j[:, None], pixel.shape), reflect(pixel, size, np)), np.where(real, UP[None], 0))
    return out


def end_matrices(size: int, before: jax.Array, after: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Return two float[STRIP, size]: the upsampled ends of the padded axis, outside of which there are zeros.

    Args:
        size: pixels of the axis.
        before: int32[], pixels padded before the first.
        after: int32[], pixels padded after the last.
        dtype: of the result.
    """

    firsts = (-2 * before - 1, 2 * (size + after) - STRIP + 1)
    pixel, real = _sources(jnp.concatenate([first + jnp.arange(STRIP) for first in firsts]))
    real = real & (pixel >= -before) & (pixel < size + after)
    hits = reflect(pixel, size)[:, :, None] == jnp.arange(size)[None, None, :]
    rows = jnp.sum(jnp.where(real[:, :, None] & hits, jnp.asarray(UP, dtype)[None, :, None], 0), axis=1)
    return rows[:STRIP], rows[STRIP:]


def up_matrix(size: int, before: jax.Array, after: jax.Array, dtype: Any) -> jax.Array:
    """Return float[up_length(size), size]: all three segments from the pixels."""
    low, high = end_matrices(size, before, after, dtype)
    return jnp.concatenate([low, jnp.asarray(period_matrix(size), dtype), high])


def up_filter(x: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    """Upsample the last axis of x float[m, h, w] by filtering rather than by a matrix product.

    Returns:
        float[m, h, up_length(w)].
    """
    size = x.shape[-1]
    highest = jax.lax.Precision.HIGHEST
    ends = [jnp.matmul(x, e.T, precision=highest) for e in end_matrices(size, before, after, x.dtype)]
    pads = ((0, 0), (0, 0), (REACH, size + REACH - 2))  # what the period's first and last positions read
    padded = jnp.pad(x, pads, mode="reflect")[..., None]
    core = fir.upfirdn2d(padded, SYM6[None, :], up=(2, 1), gain=2.0)
    return jnp.concatenate([ends[0], core[..., 0], ends[1]], -1)


@functools.cache
def down_matrix(size: int) -> np.ndarray:
    """Return float64[size, 2 * size + TAPS - 2]: filtering with the reversed taps, then every second sample."""
    out = np.zeros([size, 2 * size + TAPS - 2])
    for i in range(size):
        out[i, 2 * i : 2 * i + TAPS] = SYM6
    return out


def neighbours(u: jax.Array, size: int, before: jax.Array, after: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Find the two positions between which u lies, and their weights.

    Args:
        u: float[...], positions in twice the resolution; 0 is the first pixel, 2 the second.
        size: pixels of the axis.
        before: int32[], pixels padded before the first.
        after: int32[], pixels padded after the last.

    Returns:
        (int32[...] the lower one, its weight, the weight of the next one); both weights are 0 where u lies outside the
        padded image. `unfolded` has the range of the first.
    """
    low, high = -2 * before, 2 * (size + after)
    u = jnp.clip(u, -8 * size - TAPS, 8 * size + TAPS)  # far outside is as good as outside
    u = backend.stored(u, before != -1)  # else the index and the weights may be of different positions
    floor = jnp.floor(u)
    share = u - floor
    j = floor.astype(jnp.int32)
    weights = [jnp.where((at >= low) & (at < high), w, 0) for at, w in ((j, 1 - share), (j + 1, share))]
    return jnp.clip(j, low - 1, high - 1), weights[0], weights[1]


def storage(j: jax.Array, size: int, before: jax.Array, after: jax.Array) -> jax.Array:
    """Return where the image of position j, int32[...], of `neighbours` is stored, and that of j + 1 next to it."""
    low, high, period = -2 * before, 2 * (size + after), 4 * (size - 1)
    in_period = STRIP + j + jnp.where(j < 0, period, 0) - jnp.where(j >= period, period, 0)
    at_low, at_high = j - (low - 1), STRIP + period + 1 + j - (high - STRIP + 1)
    return jnp.where(j <= low + STRIP - 3, at_low, jnp.where(j >= high - STRIP + 1, at_high, in_period))


def unfolded(size: int) -> range:
    """Return all positions of `neighbours`, and one more at the end, when margins are at most a whole image."""
    return range(-2 * (size - 1) - 1, 2 * (2 * size - 1) + 1)
