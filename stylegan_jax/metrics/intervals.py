"""95% intervals of metrics, each by the cheapest method (see docs/metrics.md).

They describe only the sampling of the evaluated images; the reals are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats

Interval = tuple[float, float] | None
"""(lower, upper), or None if unknown."""

Z = 1.959964
"""Standard deviations to either side that contain 95% of a normal distribution."""


def normal(value: float, error: float) -> Interval:
    """Return the interval of a value with a standard error."""
    return (value - Z * error, value + Z * error) if np.isfinite(error) else None


def from_zero(interval: Interval) -> Interval:
    """Return the interval of a value that is never negative."""
    return None if interval is None else (max(interval[0], 0.0), interval[1])


def of_mean(values: np.ndarray) -> Interval:
    """Return the interval of the mean of independent values float[n]."""
    if len(values) < 2:
        return None
    return normal(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))


def jackknife(value: float, left_out: Sequence[float]) -> Interval:
    """Return the interval of a statistic from its values without each of g equal groups."""
    g = len(left_out)
    if g < 2:
        return None
    spread = np.asarray(left_out) - np.mean(left_out)
    return normal(value, float(np.sqrt((g - 1) / g * np.square(spread).sum())))


def of_share(hits: int, count: int) -> Interval:
    """Return the interval of a share (Wilson)."""
    found = scipy.stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(statistic: Callable[[np.ndarray], float], rows: np.ndarray, seed: int = 0, resamples: int = 200):
    """Return the percentile interval of a statistic of rows float[n, …] drawn with replacement."""
    if len(rows) < 2:
        return None
    draw = np.random.default_rng(seed)
    values = [statistic(rows[draw.integers(0, len(rows), len(rows))]) for _ in range(resamples)]
    way = "linear" if np.isfinite(values).all() else "nearest"  # nothing lies between infinities
    low, high = np.percentile(values, [2.5, 97.5], method=way)
    return float(low), float(high)
