"""The cells of a run's grids: their number, their labels, and the real images."""

from __future__ import annotations

import numpy as np

from stylegan_jax.config import ExperimentConfig
from stylegan_jax.data import FittedSource, order

SEARCHED = 1 << 20
"""Images among which those of a class are looked for."""


def grid_size(config: ExperimentConfig) -> int:
    """Return the number of cells of the grid."""
    return config.log.grid_columns * config.log.grid_rows


def grid_labels(config: ExperimentConfig, source: FittedSource) -> np.ndarray:
    """Return the label of each cell, float32[cells, k].

    Each row shows one class. If labels are not classes, arbitrary combinations may be meaningless, so each cell has the
    label of the real image in the same cell of the grid of reals.
    """
    info = source.info()
    if info.label_kind != "classes":
        return source.labels(np.resize(grid_images(config, source), grid_size(config)))
    return np.eye(info.label_dim, dtype=np.float32)[_classes(config, info.label_dim)]


def grid_images(config: ExperimentConfig, source: FittedSource) -> np.ndarray:
    """Return the numbers of the real images in the grid of reals, int64[cells], or fewer if there are not so many.

    They are drawn from the whole set. If labels are classes, each row shows the class of the same row of samples; a
    class with too few images repeats them, and a row without any shows others.
    """
    info, cells = source.info(), grid_size(config)
    if info.label_kind != "classes":
        return order.shuffled(np.arange(min(cells, info.num_images)), info.num_images)
    drawn = order.shuffled(np.arange(min(SEARCHED, info.num_images)), info.num_images)
    wanted, shown = _classes(config, info.label_dim), source.label_rows(drawn)
    found = np.resize(drawn, cells)
    for label in np.unique(wanted):
        if len(own := drawn[shown == label]):
            found[wanted == label] = np.resize(own, np.count_nonzero(wanted == label))
    return found


def _classes(config: ExperimentConfig, count: int) -> np.ndarray:
    """Return the class of each cell, int64[cells], of `count` classes."""
    return np.arange(grid_size(config)) // config.log.grid_columns % count
