"""Latent editing consistency (Tov et al. 2021, e4e, section 5.2): whether an edit of an image's code can be taken back.

An image is encoded, its code edited, drawn and encoded again, and the edit undone; the distance is that to the first
code. Small values say that the encoder finds codes which stay where the generator draws well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stylegan_jax.base.spec import Array
from stylegan_jax.metrics.path_length import trimmed_mean


def editing_consistency(
    encode: Callable[[Array], Array], draw: Callable[[Array], Array], images: Array, step: Array
) -> tuple[Array, Array]:
    """Return the distances of n images, and their codes.

    Args:
        encode: images [n, h, w, c] of any size -> codes float[n, l, w].
        draw: codes -> images.
        images: float[n, h, w, c].
        step: float[w] or [l, w], the edit: what is added to a code, and then subtracted.

    Returns:
        float[n], the 2-norm over slots and width together; codes float[n, l, w].
    """
    codes = encode(images)
    moved = encode(draw(codes + step)) - step
    return ((moved - codes) ** 2).sum(axis=(1, 2)) ** 0.5, codes


def published_mean(distances: np.ndarray, batch: int = 8) -> float:
    """Return what the authors' code prints of distances float[n]: the trimmed mean of the means of batches.

    It depends on the batch size, and images after the last full batch do not count.

    Raises:
        ValueError: there are fewer distances than a batch has.
    """
    count = len(distances) // batch
    if not count:
        raise ValueError(f"{len(distances)} distances are less than a batch of {batch}; lower the batch")
    return trimmed_mean(distances[: count * batch].reshape(count, batch).mean(axis=1))
