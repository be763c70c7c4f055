"""The Inception score (Salimans et al. 2016)."""

from __future__ import annotations

import numpy as np

SPLITS = 10


def split_scores(probs: np.ndarray, splits: int = SPLITS) -> np.ndarray:
    """Return exp(mean KL(p(y|x) | p(y))) of each consecutive part, float64[splits].

    The score is their mean; the reported spread is their population standard deviation.

    Args:
        probs: float[n, classes], n at least `splits`; the official score takes Inception's, without the last layer's
            bias.
        splits: number of parts.
    """
    scores = []
    for i in range(splits):
        p = np.asarray(probs[i * len(probs) // splits : (i + 1) * len(probs) // splits], np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(p > 0, p * (np.log(p) - np.log(p.mean(axis=0))), 0)  # 0 log 0 = 0
        scores.append(np.exp(terms.sum(axis=1).mean()))
    return np.array(scores)
