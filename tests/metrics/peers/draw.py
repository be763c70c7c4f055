"""The random features that both sides of the comparison with torch-fidelity are given. NumPy only."""

from __future__ import annotations

import numpy as np

COUNTS, DIM, CLASSES = (3000, 2800), 64, 40


def features() -> tuple[np.ndarray, np.ndarray]:
    """Return (first, second), float32[n, DIM]: two Gaussians with correlated entries that overlap."""
    draw = np.random.RandomState(20201)
    mix = draw.randn(DIM, DIM) / np.sqrt(DIM)
    sets = [draw.randn(n, DIM) for n in COUNTS]
    second = sets[1] @ (mix + 0.1 * draw.randn(DIM, DIM) / np.sqrt(DIM)) + 0.3 * draw.randn(DIM)
    return (sets[0] @ mix).astype(np.float32), second.astype(np.float32)


def logits() -> np.ndarray:
    """Return float32[n, CLASSES]."""
    return (2 * np.random.RandomState(20202).randn(COUNTS[0], CLASSES)).astype(np.float32)
