"""Latent editing consistency (Tov et al. 2021, e4e, section 5.2): whether an edit of an image's code can be undone.

An image is encoded; its code is edited, drawn and encoded again, and the edit is subtracted. The metric is the distance
to the first code. It is small if the encoder's codes stay in the region where the generator draws well.
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
    """Return the number that the authors' code prints for distances float[n]: the trimmed mean of batch means.

    It depends on the batch size, and ignores images after the last full batch.

    Raises:
        ValueError: there are fewer distances than one batch.
    """
    count = len(distances) // batch
    if not count:
        raise ValueError(f"{len(distances)} distances are fewer than a batch of {batch}; lower the batch")
    return trimmed_mean(distances[: count * batch].reshape(count, batch).mean(axis=1))
