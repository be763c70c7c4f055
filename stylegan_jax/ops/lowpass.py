"""Design of low-pass FIR filters: separable Kaiser and radially symmetric jinc filters (SG3 App. C.1 and C.2)."""

from __future__ import annotations

import functools

import numpy as np


@functools.cache
def design_lowpass(taps: int, cutoff: float, width: float, rate: float, radial: bool = False) -> np.ndarray | None:
    """Return a Kaiser-windowed low-pass filter with gain 1 at frequency 0.

    Args:
        taps: length of an axis; 1 is the identity.
        cutoff: cutoff frequency f_c, in the unit of `rate`.
        width: width of the transition band, 2 f_h.
        rate: sampling rate.
        radial: a function of the distance from the centre, so that all directions are treated alike; not separable.

    Returns:
        float32[taps], or float32[taps, taps] when radial; None for the identity. Not to be written to.
    """
    from scipy import signal, special

    if taps == 1:
        return None
    if not radial:
        f = np.asarray(signal.firwin(taps, cutoff, width=width, fs=rate))
    else:
        x = (np.arange(taps) - (taps - 1) / 2) / rate
        r = np.pi * np.hypot(x[:, None], x[None, :])
        centre = r == 0  # only at odd lengths
        ideal = np.where(centre, cutoff, special.j1(2 * cutoff * r) / np.where(centre, 1, r))  # J1(2ar)/r -> a
        window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, width / (rate / 2))))
        f = ideal * np.outer(window, window)
        f /= f.sum()
    f = f.astype(np.float32)
    f.setflags(write=False)
    return f
