"""Image-space filtering: amplify four frequency bands at constant expected power (ADA App. B)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
BANDS = 4
POWER = np.array([10, 1, 1, 1]) / 13
"""Expected power per band, lowest frequencies first: 1/f images."""


@functools.cache
def filter_bank() -> np.ndarray:
    """Return float32[4, 43]: zero-phase filters of four octaves that sum to the identity, lowest frequencies first.

    Each level spreads the filters so far by two, smooths them with |H|^2/2 of the sym2 low-pass filter H, and adds the
    complementary high-pass filter as the next band.
    """
    low = np.asarray(SYM2)
    high = low * (-1.0) ** np.arange(low.size)
    power = lambda h: np.convolve(h, h[::-1]) / 2
    rows = [np.ones([1])]
    for _ in range(BANDS - 1):
        spread = [np.kron(row, [1.0, 0.0])[:-1] for row in rows]
        rows = [np.convolve(row, power(low)) for row in spread]
        rows.append(np.pad(power(high), (rows[0].size - 2 * low.size + 1) // 2))
    return np.asarray(rows, np.float32)


def band_gains(amplified: jax.Array) -> jax.Array:
    """Return float[n, 4], the gain of each band after the power is restored band by band.

    Args:
        amplified: float[n, 4], the gain drawn for each band; 1 leaves it unchanged.
    """
    others = jnp.ones_like(amplified)
    total = others
    power = jnp.asarray(POWER, amplified.dtype)[None]
    for i in range(BANDS):
        one = others.at[:, i].set(amplified[:, i])
        total = total * one / jnp.sqrt(jnp.sum(power * jnp.square(one), axis=1, keepdims=True))
    return total


@functools.cache
def _toeplitz(size: int) -> np.ndarray:
    """Return float64[4, size, size]: each band's filter along an axis that is reflected at its ends."""
    bank = filter_bank().astype(np.float64)
    half, period = bank.shape[1] // 2, 2 * (size - 1)
    at = np.abs(np.arange(size)[:, None] + np.arange(-half, half + 1)) % period
    source = np.where(at < size, at, period - at)
    out = np.zeros([BANDS, size, size])
    for k in range(bank.shape[1]):
        out[:, np.arange(size), source[:, k]] += bank[:, k, None]
    return out


def amplify(images: jax.Array, gains: jax.Array) -> jax.Array:
    """Filter both axes of images float[n, h, w, c] with band gains float[n, 4].

    Every sample has its own filter of 43 taps, so an axis is one product with a matrix per sample, [h, h] or [w, w]:
    a matrix product, also in its gradient, on every platform.
    """
    highest = jax.lax.Precision.HIGHEST
    matrix = lambda size: jnp.einsum("nb,bij->nij", gains, jnp.asarray(_toeplitz(size), gains.dtype), precision=highest)
    images = jnp.einsum("nij,njwc->niwc", matrix(images.shape[1]), images, precision=highest)
    return jnp.einsum("nij,nhjc->nhic", matrix(images.shape[2]), images, precision=highest)
