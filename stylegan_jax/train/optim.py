"""Adam, corrected once for lazy regularisation (SG2 App. B)."""

from __future__ import annotations

import optax


def lazy_ratio(interval: int) -> float:
    """Return k / (k + 1) for a regulariser that runs every k-th iteration; 1 for none (interval 0)."""
    return interval / (interval + 1) if interval else 1.0


def adam(lr: float, beta1: float, beta2: float, eps: float, interval: int) -> optax.GradientTransformation:
    """Return Adam for a network whose regulariser takes an extra step every `interval` iterations.

    With r = k / (k + 1), the learning rate becomes lr * r and the betas beta ** r, so that main and regularisation
    steps together move as far as k plain steps. Both share one optimiser state. eps is added outside the root.

    Args:
        lr: learning rate of the network.
        beta1: first-moment decay.
        beta2: second-moment decay.
        eps: added to the root of the second moment.
        interval: iterations between regularisations; 0: never.
    """
    r = lazy_ratio(interval)
    return optax.adam(lr * r, b1=beta1**r, b2=beta2**r, eps=eps)
