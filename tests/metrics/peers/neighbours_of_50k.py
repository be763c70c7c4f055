"""Measure time and memory of precision and recall at the size of the papers, 50,000 by 50,000 of 4096 channels.

    PYTHONPATH=tests:. python -m metrics.peers.neighbours_of_50k [IMAGES]

Features are drawn: rectified, on 64 directions with a little noise, the second set moved. Not a test: it takes minutes.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from stylegan_jax.metrics.precision_recall import precision_recall

CHANNELS, DIRECTIONS, PART = 4096, 64, 2500


def features(number: int, seed: int, shift: float) -> np.ndarray:
    """Return float16[number, 4096]."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(7).standard_normal((DIRECTIONS, CHANNELS), np.float32) / 8
    out = np.empty((number, CHANNELS), np.float16)
    for start in range(0, number, PART):
        part = out[start : start + PART]
        noise = 0.2 * rng.standard_normal(part.shape, np.float32)
        part[:] = np.maximum(rng.standard_normal((len(part), DIRECTIONS), np.float32) @ basis + noise + shift, 0)
    return out


def peak() -> float:
    """Return the most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    real, fake = features(number, 0, 0.0), features(number, 1, 0.02)
    print(f"features drawn, {peak():.2f} GiB")
    start = time.perf_counter()
    found = precision_recall(real, fake)
    print(
        f"{time.perf_counter() - start:.0f} s, at most {peak():.2f} GiB;"
        f" precision {found.precision_hits.mean():.4f}, recall {found.recall_hits.mean():.4f}"
    )


if __name__ == "__main__":
    main()
