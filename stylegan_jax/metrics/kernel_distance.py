"""The kernel distance (Bińkowski et al. 2018): KID with Inception's features, KD with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

SUBSETS, SUBSET_SIZE = 100, 1000


def draw_subsets(
    num_real: int, num_fake: int, seed: int = 0, count: int = SUBSETS, size: int = SUBSET_SIZE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (indices of reals, indices of fakes), int64[m] each: m = min(size, num_real, num_fake), without repeats."""
    draw, m = np.random.default_rng(seed), min(num_real, num_fake, size)
    for _ in range(count):
        yield draw.choice(num_real, m, replace=False), draw.choice(num_fake, m, replace=False)


def kernel_distances(
    real: np.ndarray, fake: np.ndarray, subsets: Iterable[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return the unbiased squared MMD of each subset, float64[subsets]; KID is their mean.

    The kernel is (x . y / d + 1)^3. Pairs of an element with itself do not count, among reals or among fakes.

    Args:
        real: float[n, d].
        fake: float[m, d].
        subsets: pairs of indices, as many reals as fakes in each.
    """

    def kernel(a, b):
        k = a @ b.T / real.shape[1] + 1
        return k * k * k  # k**3 calls pow for each entry, which is slower

    out = []
    for of_real, of_fake in subsets:
        x, y, m = real[of_real].astype(np.float64), fake[of_fake].astype(np.float64), len(of_real)
        within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
        out.append(within / (m * (m - 1)) - 2 * kernel(x, y).sum() / m**2)
    return np.array(out)
