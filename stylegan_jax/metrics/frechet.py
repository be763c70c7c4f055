"""The Fréchet distance of two Gaussians (Heusel et al. 2017): FID with Inception's features, FD with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

from stylegan_jax.metrics import intervals, moments
from stylegan_jax.metrics.moments import Moments

CLOSE = 1e-3
"""Distances below this share of both traces are computed in the exact way, which takes several times as long."""


class Gaussian(NamedTuple):
    """A Gaussian prepared for many comparisons.

    Attributes:
        mean: float64[d].
        root: float64[d, d], the symmetric square root of the covariance.
        trace: of the covariance.
    """

    mean: np.ndarray
    root: np.ndarray
    trace: float


def prepare(mean: np.ndarray, cov: np.ndarray) -> Gaussian:
    """Return the Gaussian of a mean float64[d] and a covariance float64[d, d]; eigenvalues below 0 count as 0."""
    values, vectors = scipy.linalg.eigh(cov)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return Gaussian(mean, root, float(np.trace(cov)))


def distance(one: Gaussian, mean: np.ndarray, cov: np.ndarray) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S2 S1)^(1/2)), at least 0; values within rounding of 0 are 0.

    The trace of the root of S2 S1 is the sum of the roots of its eigenvalues, which are those of the symmetric
    S1^(1/2) S2 S1^(1/2): this avoids the root of a matrix that is not symmetric, and its problems with deficient rank.

    The root of an eigenvalue that is 0 up to rounding is the root of that rounding. If two sets are so close that this
    may matter, the trace is the sum of the singular values of S1^(1/2) S2^(1/2), which are exact to rounding.
    """
    values = scipy.linalg.eigvalsh(one.root @ cov @ one.root)
    traces, shift = one.trace + float(np.trace(cov)), float(np.square(one.mean - mean).sum())
    value = shift + traces - 2 * float(np.sqrt(np.maximum(values, 0)).sum())
    if value > CLOSE * traces:
        return value
    value = shift + traces - 2 * float(np.sum(scipy.linalg.svdvals(one.root @ prepare(mean, cov).root)))
    sizes = traces + float(np.square(one.mean).sum() + np.square(mean).sum())  # a covariance is a difference of these
    return value if value > 8 * len(mean) * np.finfo(np.float64).eps * sizes else 0.0


def frechet(real: Moments, fake: Moments) -> float:
    """Return the Fréchet distance of two sets of features."""
    return distance(prepare(*moments.mean_cov(real)), *moments.mean_cov(fake))


def with_interval(real: Moments, groups: Sequence[Moments]) -> tuple[float, intervals.Interval]:
    """Return the distance and its 95% interval over draws of the second set.

    Args:
        real: the first set; its sampling is not part of the interval.
        groups: the second set in parts of about the same size, each left out once (jackknife).
    """
    one, whole = prepare(*moments.mean_cov(real)), moments.merge_all(groups)
    value = distance(one, *moments.mean_cov(whole))
    used = [g for g in groups if 0 < g.count < whole.count]
    left_out = []
    for group in used:
        rest = Moments(whole.count - group.count, whole.total - group.total, whole.outer - group.outer)
        left_out.append(distance(one, *moments.mean_cov(rest)))
    return value, intervals.from_zero(intervals.jackknife(value, left_out))
