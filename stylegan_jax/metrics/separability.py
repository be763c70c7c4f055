"""Linear separability (SG1 §4.2): how well a hyperplane in latent space predicts an attribute of the image."""

from __future__ import annotations

import warnings

import numpy as np

from stylegan_jax.metrics.errors import MetricError

SAMPLES, KEEP = 200_000, 100_000


def conditional_entropy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Return H(truth | guess) in bits of two bool[n]."""
    table = np.array([[np.mean((guess == g) & (truth == t)) for t in (False, True)] for g in (False, True)])
    rows = table.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(table > 0, table * np.log2(rows / table), 0).sum())


def attribute_entropy(latents: np.ndarray, logits: np.ndarray, keep: int = KEEP) -> float:
    """Return the remaining entropy in bits of an attribute after a linear SVM on the latents has guessed it.

    Args:
        latents: float[n, d].
        logits: float[n], of the classifier; the sign is the truth, the magnitude the confidence.
        keep: number of samples to use, the most confident ones.

    Raises:
        MetricError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError:
        raise MetricError("ls needs scikit-learn: pip install 'stylegan_jax[metrics]'") from None
    chosen = np.argsort(-np.abs(logits), kind="stable")[:keep]
    x, truth = latents[chosen], logits[chosen] > 0
    if truth.all() or not truth.any():
        return 0.0  # only one class, so nothing remains unknown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the official figures stop at 1000 iterations too
        svm = LinearSVC(random_state=0).fit(x, truth)
    return conditional_entropy(truth, np.asarray(svm.predict(x)))


def separability(latents: np.ndarray, logits: np.ndarray, keep: int = KEEP) -> tuple[float, np.ndarray]:
    """Return (2^(sum of the attributes' entropies), the entropies float64[attributes]).

    Args:
        latents: float[n, d].
        logits: float[n, attributes].
        keep: as `attribute_entropy`.
    """
    entropies = np.array([attribute_entropy(latents, logits[:, i], keep) for i in range(logits.shape[1])])
    return float(2 ** entropies.sum()), entropies
