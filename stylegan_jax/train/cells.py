"""The cells of a run's sample grid: their number and their labels."""

from __future__ import annotations

import numpy as np

from stylegan_jax.config import ExperimentConfig
from stylegan_jax.data import FittedSource


def grid_size(config: ExperimentConfig) -> int:
    """Return the number of cells of the grid."""
    return config.log.grid_columns * config.log.grid_rows


def grid_labels(config: ExperimentConfig, source: FittedSource) -> np.ndarray:
    """Return the label of each cell, float32[cells, k].

    Each row shows one class. If labels are not classes, arbitrary combinations may be meaningless, so each cell has the
    label of the real image in the same cell of the grid of reals.
    """
    cells, info = np.arange(grid_size(config)), source.info()
    if info.label_kind != "classes":
        return source.labels(cells % info.num_images)
    label = np.zeros((len(cells), info.label_dim), np.float32)
    label[cells, cells // config.log.grid_columns % info.label_dim] = 1
    return label
