"""Plain NumPy/SciPy formulas in float64: the operations spelled out, slow and obvious."""

from __future__ import annotations

import numpy as np
from scipy import signal


def stuff_and_pad(x, up, pads):
    """Insert zeros after each sample of [n, h, w, c], then pad, or crop where negative."""
    n, h, w, c = x.shape
    z = np.zeros((n, h * up[1], w * up[0], c))
    z[:, :: up[1], :: up[0]] = x
    x0, x1, y0, y1 = pads
    z = np.pad(z, ((0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0)), (0, 0)))
    return z[:, max(-y0, 0) : z.shape[1] - max(-y1, 0), max(-x0, 0) : z.shape[2] - max(-x1, 0)]


def filter_valid(x, f, flip_filter=False):
    """Filter every channel of [n, h, w, c] where the 2-D filter fits; a 1-D one stands for its outer product."""
    if f is None:
        return x
    f = np.outer(f, f) if f.ndim == 1 else f
    apply = signal.correlate2d if flip_filter else signal.convolve2d
    planes = [[apply(x[i, :, :, j], f, mode="valid") for j in range(x.shape[3])] for i in range(x.shape[0])]
    return np.moveaxis(np.array(planes), 1, -1)


def upfirdn2d(x, f, up=(1, 1), down=(1, 1), padding=(0, 0, 0, 0), flip_filter=False, gain=1.0):
    y = filter_valid(stuff_and_pad(x, up, padding), f, flip_filter)
    return gain * y[:, :: down[1], :: down[0]]


def correlate(x, w):
    """Correlate [n, h, w, i] with [kh, kw, i, o] where the kernel fits."""
    patches = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))
    return np.einsum("nhwiab,abio->nhwo", patches, w)


def scatter(x, w, stride):
    """Add every sample times the kernel: out[stride i + a] += x[i] w[a]."""
    n, h, wd, _ = x.shape
    kh, kw, _, c_out = w.shape
    out = np.zeros((n, (h - 1) * stride + kh, (wd - 1) * stride + kw, c_out))
    for i in range(h):
        for j in range(wd):
            out[:, stride * i : stride * i + kh, stride * j : stride * j + kw] += np.einsum(
                "ni,abio->nabo", x[:, i, j], w
            )
    return out


def conv2d_resample(x, w, f, up=1, down=1, padding=0, groups=1, flip_weight=True):
    """Zero-stuff, pad once, filter, convolve, filter, decimate: the order of the definition."""
    taps = 1 if f is None else f.shape[0]
    before = padding + (taps + up - 1) // 2 * (up > 1) + (taps - down + 1) // 2 * (down > 1)
    after = padding + (taps - up) // 2 * (up > 1) + (taps - down) // 2 * (down > 1)
    z = stuff_and_pad(x, (up, up), (before, after, before, after))
    z = up**2 * filter_valid(z, f) if up > 1 else z
    w = w if flip_weight else w[::-1, ::-1]
    size = w.shape[2]
    parts = zip(np.split(z, groups, axis=3), np.split(w, groups, axis=3), strict=True)
    assert z.shape[3] == groups * size
    z = np.concatenate([correlate(a, b) for a, b in parts], axis=3)
    return (filter_valid(z, f) if down > 1 else z)[:, ::down, ::down]


def modulated_conv2d(x, w, s, f=None, demodulate=True, **kwargs):
    """Give every image its own kernel s·w·d (SG2 eq. 1 and 3) and convolve it alone."""
    out = []
    for image, style in zip(x, s, strict=True):
        own = w * style[None, None, :, None]
        if demodulate:
            own = own / np.sqrt(np.sum(own**2, axis=(0, 1, 2)) + 1e-8)
        out.append(conv2d_resample(image[None], own, f, **kwargs)[0])
    return np.stack(out)


def minibatch_std(x, group, channels):
    """Loop over groups (members n / group apart) and statistics channels (PG §3)."""
    n, h, w, c = x.shape
    groups, width = n // group, c // channels
    out = np.zeros((n, h, w, channels))
    for g in range(groups):
        for k in range(channels):
            part = x[g::groups, :, :, k * width : (k + 1) * width]
            out[g::groups, :, :, k] = np.sqrt(part.var(axis=0) + 1e-8).mean()
    return np.concatenate([x, out], axis=3)
