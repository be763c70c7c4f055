"""Mean and covariance of features that come in batches, in float64; parts of a set can be merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Sums over features.

    Attributes:
        count: number of rows.
        total: float64[d], their sum.
        outer: float64[d, d], the sum of their outer products.
    """

    count: int
    total: np.ndarray
    outer: np.ndarray


def empty(dim: int) -> Moments:
    """Return the sums over nothing."""
    return Moments(0, np.zeros(dim), np.zeros((dim, dim)))


def update(moments: Moments, features: np.ndarray) -> Moments:
    """Add features float[n, d]."""
    x = np.asarray(features, np.float64)
    return merge(moments, Moments(len(x), x.sum(axis=0), x.T @ x))


def merge(a: Moments, b: Moments) -> Moments:
    """Return the sums over both parts."""
    return Moments(a.count + b.count, a.total + b.total, a.outer + b.outer)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """Return the sums over all parts, of which there is at least one."""
    first, *rest = parts
    out = Moments(first.count, first.total.copy(), first.outer.copy())
    for part in rest:  # in place: a copy for each of ten parts of 2048 dimensions would be 340 MB
        out.total[:] += part.total
        out.outer[:] += part.outer
        out = out._replace(count=out.count + part.count)
    return out


def mean_cov(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return (mean float64[d], covariance float64[d, d], divided by the count as the official code does)."""
    mean = moments.total / moments.count
    return mean, moments.outer / moments.count - np.outer(mean, mean)
