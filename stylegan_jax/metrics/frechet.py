"""The Fréchet distance of two Gaussians (Heusel et al. 2017): FID with Inception's features, FD with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

from stylegan_jax.metrics import intervals, moments
from stylegan_jax.metrics.moments import Moments


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
    """Return the Gaussian of a mean float64[d] and a covariance float64[d, d]; negative eigenvalues are rounding."""
    values, vectors = scipy.linalg.eigh(cov)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return Gaussian(mean, root, float(np.trace(cov)))


def distance(one: Gaussian, mean: np.ndarray, cov: np.ndarray) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S2 S1)^(1/2)).

    The trace of the root of S2 S1 is the sum of the roots of its eigenvalues, which are those of the symmetric
    S1^(1/2) S2 S1^(1/2): no root of a matrix that is not symmetric, and none of its trouble with deficient rank.
    """
    values = scipy.linalg.eigvalsh(one.root @ cov @ one.root)
    shift = np.square(one.mean - mean).sum()
    return float(shift + one.trace + np.trace(cov) - 2 * np.sqrt(np.maximum(values, 0)).sum())


def frechet(real: Moments, fake: Moments) -> float:
    """Return the Fréchet distance of two sets of features."""
    return distance(prepare(*moments.mean_cov(real)), *moments.mean_cov(fake))


def with_interval(real: Moments, groups: Sequence[Moments]) -> tuple[float, intervals.Interval]:
    """Return the distance and its 95% interval over draws of the second set.

    Args:
        real: the first set; taken as it is.
        groups: the second set in parts of about the same size, each left out once (jackknife).
    """
    one, whole = prepare(*moments.mean_cov(real)), moments.merge_all(groups)
    value = distance(one, *moments.mean_cov(whole))
    used = [g for g in groups if 0 < g.count < whole.count]
    left_out = []
    for group in used:
        rest = Moments(whole.count - group.count, whole.total - group.total, whole.outer - group.outer)
        left_out.append(distance(one, *moments.mean_cov(rest)))
    return value, intervals.jackknife(value, left_out)
