"""Values with intervals, from what passes collected; docs/metrics.md says how each interval is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.metrics import (
    equivariance,
    frechet,
    inception_score,
    intervals,
    kernel_distance,
    path_length,
    precision_recall,
    separability,
)
from stylegan_jax.metrics.collect import Collector, Rows, Sums
from stylegan_jax.metrics.intervals import Interval

GROUPS = 10
"""Parts of the evaluated images, each left out once for the interval of a Fréchet distance."""
SHUFFLE_SEED = 42

Values = list[tuple[float, Interval]]


class Family(NamedTuple):
    """Metrics that compare features of two sets of images.

    Attributes:
        real: number of rows -> collector of the reals; None: no reals.
        fake: number of rows -> collector of the evaluated images.
        least: smallest number of images in either set.
        compute: (reals, evaluated, seed) -> a value with its interval per result.
    """

    real: Callable[[int], Collector] | None
    fake: Callable[[int], Collector]
    least: int
    compute: Callable[[Any, Any, int], Values]


def _frechet(real: Sums, fake: Sums, seed: int) -> Values:
    return [frechet.with_interval(real.whole(), fake.parts())]


def _kernel(real: Rows, fake: Rows, seed: int) -> Values:
    subsets = kernel_distance.draw_subsets(real.count, fake.count, seed)
    found = kernel_distance.kernel_distances(real.rows, fake.rows, subsets)
    varied = fake.count > kernel_distance.SUBSET_SIZE  # else every subset holds all images, and nothing spreads
    return [(float(found.mean()), intervals.of_mean(found) if varied else None)]


def _precision_recall(real: Rows, fake: Rows, seed: int) -> Values:
    found = precision_recall.precision_recall(real.rows, fake.rows)
    hits = found.precision_hits, found.recall_hits
    return [(float(h.mean()), intervals.of_share(int(h.sum()), len(h))) for h in hits]


def _density_coverage(real: Rows, fake: Rows, seed: int) -> Values:
    density, covered = precision_recall.density_coverage(real.rows, fake.rows)
    share = float(covered.mean()), intervals.of_share(int(covered.sum()), len(covered))
    return [(float(density.mean()), intervals.of_mean(density)), share]


def _inception_score(real: None, fake: Rows, seed: int) -> Values:
    return _scores(fake.rows)


def _scores(rows: np.ndarray) -> Values:
    scores = inception_score.split_scores(rows)
    return [(float(scores.mean()), intervals.of_mean(scores)), (float(scores.std()), None)]


def _shuffled_score(real: None, fake: Rows, seed: int) -> Values:
    """Shuffle first, with a fixed seed as published, because a data set may be in the order of its classes."""
    return _scores(np.random.default_rng(SHUFFLE_SEED).permutation(fake.rows))


FAMILIES: dict[str, Family] = {
    "frechet": Family(Sums, lambda n: Sums(n, GROUPS), 2, _frechet),
    "kernel": Family(Rows, Rows, 2, _kernel),
    "precision_recall": Family(
        lambda n: Rows(n, "float16"),
        lambda n: Rows(n, "float16"),
        precision_recall.NEIGHBOURS + 1,
        _precision_recall,
    ),
    "density_coverage": Family(
        lambda n: Rows(n, "float16"),
        lambda n: Rows(n, "float16"),
        precision_recall.COVERAGE_NEIGHBOURS + 1,
        _density_coverage,
    ),
    "inception_score": Family(None, Rows, inception_score.SPLITS, _inception_score),
    "shuffled_score": Family(None, Rows, inception_score.SPLITS, _shuffled_score),
}


def measure_path_length(distances: np.ndarray, seed: int) -> Values:
    """Return the path length of distances float[n]."""
    return [(path_length.trimmed_mean(distances), intervals.bootstrap(path_length.trimmed_mean, distances, seed))]


def measure_equivariance(sums: np.ndarray, seed: int) -> Values:
    """Return the PSNR in dB of errors and weights float[batches, 2]."""
    of = lambda rows: equivariance.psnr(*rows.sum(axis=0, dtype=np.float64))
    with np.errstate(divide="ignore"):  # without any error, the PSNR is infinite
        return [(of(sums), intervals.bootstrap(of, sums, seed))]


def average_pairs(values: np.ndarray, *, is_distance: bool) -> Values:
    """Return the mean of values float[n], one per pair; distances are never negative."""
    interval = intervals.of_mean(values)
    return [(float(values.mean(dtype=np.float64)), intervals.from_zero(interval) if is_distance else interval)]


def measure_separability(z: np.ndarray, w: np.ndarray, logits: np.ndarray) -> Values:
    """Return the separability in Z and in W of latents float[n, d] and logits float[n, attributes]."""
    keep = min(separability.KEEP, -(-len(z) // 2))  # the more confident half, as of the published 200 000
    return [(separability.separability(x, logits, keep)[0], None) for x in (z, w)]
