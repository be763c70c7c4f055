"""Average power spectra of images (SG3 section 4, figure 'average power spectra'): numbers only, no files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BETA = 8.0
"""Beta of the Kaiser window; its side lobes fall by 60 dB before the spectrum of natural images does."""
PAD = 4
"""Samples of the spectrum per frequency step of 1 / image size."""


class Spectrum(NamedTuple):
    """An average power spectrum.

    Attributes:
        power: float64[s, s], zero frequency first, s = pad * max(h, w); 1 everywhere for white noise of variance 1.
        pad: samples per frequency step of 1 / max(h, w).
        count: number of images.
    """

    power: np.ndarray
    pad: int
    count: int


def moments(chunks: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return (mean, standard deviation) of all values of uint8[n, h, w, c] chunks, exactly.

    Raises:
        ValueError: there is no image, or all values are the same.
    """
    count = total = squares = 0
    for chunk in chunks:
        values = np.bincount(chunk.reshape(-1), minlength=256)
        levels = np.arange(256)
        count, total = count + int(values.sum()), total + int(values @ levels)
        squares += int(values @ levels**2)
    if not count or squares * count == total**2:
        raise ValueError("no images, or all their values are equal, so they cannot be normalised; check the data")
    return total / count, (squares / count - (total / count) ** 2) ** 0.5


def average(chunks: Iterable[np.ndarray], mean: float, std: float, *, beta: float = BETA, pad: int = PAD) -> Spectrum:
    """Return the average over images and channels of |FFT(window * (x - mean) / std)|^2.

    The window is the outer product of two Kaiser windows whose squares sum to 1. 2n frequencies determine the spectrum
    of a windowed image of n samples, so images are padded only to twice their size; the spectrum at `pad` times n
    frequencies follows exactly from the average's autocorrelation. FFTs are in float32, sums over images in float64.

    Args:
        chunks: uint8[n, h, w, c], with equal n except in the last.
        mean: of the values of the data, 0 to 255.
        std: their standard deviation.
        beta: of the window.
        pad: at least 2.

    Raises:
        ValueError: there is no image.
    """
    total, count, size = None, 0, (0, 0)
    run: Callable = lambda x: x
    for chunk in chunks:
        if total is None:
            size = chunk.shape[1:3]
            run = functools.partial(_power, kaiser(size, beta), np.float32(mean), np.float32(std))
            total = np.zeros((2 * size[0], size[1] + 1))
        parts = np.asarray(run(chunk), np.float64)
        total, count = total + parts.sum(axis=0), count + len(chunk)
    if total is None:
        raise ValueError("no images; there is nothing to average")
    return Spectrum(interpolate(total / count, pad * max(size)), pad, count)


@jax.jit
def _power(window: jax.Array, mean: jax.Array, std: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return float32[n, 2h, w + 1], the power spectrum of each image, averaged over channels."""
    h, w = pixels.shape[1:3]
    x = (pixels.astype(jnp.float32) - mean) / std * window[:, :, None]
    f = jax.vmap(lambda channel: jnp.fft.rfft2(channel, (2 * h, 2 * w)), in_axes=3, out_axes=3)(x)
    return (jnp.square(f.real) + jnp.square(f.imag)).mean(axis=3)


def kaiser(size: tuple[int, int], beta: float) -> np.ndarray:
    """Return float32[h, w], the outer product of two Kaiser windows, each with squares that sum to 1."""
    rows, columns = (w / np.sqrt(np.sum(w**2)) for w in (np.kaiser(n, beta) for n in size))
    return np.outer(rows, columns).astype(np.float32)


def interpolate(power: np.ndarray, size: int) -> np.ndarray:
    """Interpolate half a spectrum float64[2h, w + 1] of images [h, w] to float64[size, size].

    Its inverse transform is the autocorrelation, which is zero at lags of at least h, or w, so zeros may be inserted.
    """
    h, w = power.shape[0] // 2, power.shape[1] - 1
    lags = np.fft.irfft2(power, (2 * h, 2 * w))
    wide = np.zeros((size, size))
    at = lambda n: np.r_[0:n, -(n - 1) : 0]  # lags 0 … n - 1 and 1 - n … -1; negative ones count from the end
    wide[np.ix_(at(h), at(w))] = lags[np.ix_(at(h), at(w))]
    return np.maximum(np.fft.fft2(wide).real, 0)  # rounding may leave values slightly below 0


def decibel(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 of a power, at least -200."""
    return 10 * np.log10(np.maximum(power, 1e-20))


def slices(spectrum: Spectrum) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {'0°': …, '45°': …}, each (frequencies in cycles per pixel, dB), float64[s // 2 + 1].

    0° is along the rows, up to 1/2; 45° is along the diagonal down to the right, up to 1/sqrt(2).
    """
    size = len(spectrum.power)
    index = np.arange(size // 2 + 1)
    return {
        "0°": (index / size, decibel(spectrum.power[0, index])),
        "45°": (index / size * np.sqrt(2), decibel(spectrum.power[index, index])),
    }


def heatmap(spectrum: Spectrum, smooth: float) -> np.ndarray:
    """Return dB float64[s + 1, s + 1] with frequency 0 in the centre, row 0 at -1/2 and the last at 1/2.

    Args:
        spectrum: the spectrum.
        smooth: standard deviation of the Gaussian that smooths it, in units of 1 / image size; 0: none.
    """
    from scipy.ndimage import gaussian_filter

    shown = np.fft.fftshift(decibel(spectrum.power))
    shown = np.pad(shown, ((0, 1), (0, 1)), mode="wrap")
    return gaussian_filter(shown, smooth * spectrum.pad, mode="nearest") if smooth else shown
