"""The sample grid of a run: the same latents and labels at every snapshot."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import images, rng
from stylegan_jax.config import ExperimentConfig, Level
from stylegan_jax.data import FittedSource
from stylegan_jax.models import Gan, grown
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.sampling import drawing
from stylegan_jax.train.gan.state import TrainState, ema_model


def grid_size(config: ExperimentConfig) -> int:
    """Return the number of cells."""
    return config.log.grid_columns * config.log.grid_rows


def grid_labels(config: ExperimentConfig, source: FittedSource) -> np.ndarray:
    """Return the label of each cell, float32[cells, k].

    Classes go by rows. Other labels, of which not every combination means something, are those of the data's first
    images, which the grid of reals shows in the same cells.
    """
    cells, info = np.arange(grid_size(config)), source.info()
    if info.label_kind != "classes":
        return source.labels(cells % info.num_images)
    label = np.zeros((len(cells), info.label_dim), np.float32)
    label[cells, cells // config.log.grid_columns % info.label_dim] = 1
    return label


class Grid:
    """Draws the averaged generator at fixed latents, `noise='const'`, no truncation.

    Args:
        gan: the model.
        layout: cells are split over its devices.
        root_key: the run's root key.
        label: float32[cells, k].
        level: the part of the run that it is for; None: the model as it is.
    """

    def __init__(self, gan: Gan, layout: Layout, root_key: jax.Array, label: np.ndarray, level: Level | None = None):
        self._count = len(label)
        devices = layout.shards
        self._chunk = -(-min(self._count, 16) // devices) * devices
        padded = -(-self._count // self._chunk) * self._chunk
        z = jax.random.normal(rng.stream(root_key, "grid"), (padded, gan.spec.z_dim))
        self._label = label[np.arange(padded) % self._count]
        self._z, self._batch, self._place = np.asarray(z), layout.batch, layout.place

        def draw(model, z, label):
            here = grown.at(gan, level, model["nimg"]) if level else gan
            variables = {"params": model["params"], "buffers": model["buffers"]}
            return drawing.draw(here, variables, drawing.map_styles(here, variables, None, z, label))

        shardings = (None, layout.batch, layout.batch)  # None: as the given model lies
        self._jitted = jax.jit(draw, in_shardings=shardings, out_shardings=layout.replicated)
        self._draw = None

    def compile(self, state: TrainState) -> None:
        """Compile the program from a state or its abstract shapes."""
        z, label = self._z[: self._chunk], self._label[: self._chunk]
        shape = lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32, sharding=self._batch)
        lowered = compiling.lower(self._jitted, _drawn(state), shape(z), shape(label))
        self._draw = lowered.compile(compiler_options=compiling.quick_options())

    def draw(self, state: TrainState) -> np.ndarray:
        """Return uint8[cells, h, w, c]; waits for the device."""
        draw = self._draw or self._jitted
        model, out = _drawn(state), []
        for start in range(0, len(self._z), self._chunk):
            part = slice(start, start + self._chunk)
            z, label = self._place([self._z[part], self._label[part]], [self._batch] * 2)
            out.append(images.to_pixels(jax.device_get(draw(model, z, label))))
        return np.concatenate(out)[: self._count]


def _drawn(state: TrainState) -> dict:
    model = ema_model(state)
    return {"params": model["params"], "buffers": model["buffers"], "nimg": state.nimg}
