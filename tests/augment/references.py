"""The geometric resampling spelled out in NumPy and SciPy: pad, stuff with zeros, convolve, interpolate, decimate."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from stylegan_jax.augment.axis import SYM6

TAPS = SYM6.astype(np.float64)


def along(axis, function, x):
    return np.apply_along_axis(function, axis, x)


def double(x, axis):
    """Return twice the samples: position 2 i shows sample i, half of what lies between is left of it."""

    def one(row):
        stuffed = np.zeros(2 * row.size)
        stuffed[::2] = row
        return 2 * np.convolve(stuffed, TAPS)[5 : 5 + 2 * row.size]

    return along(axis, one, x)


def halve(x, axis, size):
    """Return every second sample, from the second on, of a correlation with the taps."""
    return along(axis, lambda row: np.correlate(row, TAPS, mode="valid")[1::2][:size], x)


def batch_margins(g_inv, h, w):
    """Return (left, top, right, bottom): how far the corners of any sample reach, and 6 pixels, at most an image."""
    corners = [np.array([x, y, 1.0]) for x in ((1 - w) / 2, (w - 1) / 2) for y in ((1 - h) / 2, (h - 1) / 2)]
    x, y = np.array([[(g @ corner)[:2] for corner in corners] for g in g_inv]).reshape(-1, 2).T
    wanted = (-x.min() + 6 - (w - 1) / 2, -y.min() + 6 - (h - 1) / 2)
    wanted += (x.max() + 6 - (w - 1) / 2, y.max() + 6 - (h - 1) / 2)
    most = (w - 1, h - 1, w - 1, h - 1)
    return [math.ceil(min(max(a, 0), b)) for a, b in zip(wanted, most, strict=True)]


def warp(images, g_inv):
    """Resample images [n, h, w, c] by inverse matrices [n, 3, 3]."""
    n, h, w, c = images.shape
    left, top, right, bottom = batch_margins(g_inv, h, w)
    out = np.zeros_like(images)
    # The sampled grid has 2 (w + 6) positions, centred on the image; position q is the middle of a half-pixel cell, and
    # the cells of twice the resolution lie a quarter of a pixel before the pixels they come from.
    x = (np.arange(2 * (w + 6)) + 0.5 - (w + 6)) / 2 + 0.25
    y = (np.arange(2 * (h + 6)) + 0.5 - (h + 6)) / 2 + 0.25
    grid = np.stack([*np.meshgrid(x, y), np.ones([y.size, x.size])])
    for i in range(n):
        source = np.einsum("ij,jyx->iyx", g_inv[i], grid)
        at_x = 2 * (source[0] + (w - 1) / 2 + left)
        at_y = 2 * (source[1] + (h - 1) / 2 + top)
        for k in range(c):
            padded = np.pad(images[i, :, :, k], ((top, bottom), (left, right)), mode="reflect")
            fine = double(double(padded, 0), 1)
            sampled = ndimage.map_coordinates(fine, [at_y, at_x], order=1, mode="grid-constant", cval=0.0)
            out[i, :, :, k] = halve(halve(sampled, 0, h), 1, w)
    return out


def affine(angle=0.0, sx=1.0, sy=1.0, tx=0.0, ty=0.0):
    """Return one inverse matrix [3, 3]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c * sx, -s * sy, tx], [s * sx, c * sy, ty], [0, 0, 1]])
