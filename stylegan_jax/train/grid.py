"""The sample grid of a run: the same latents and labels at every snapshot."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import images, rng
from stylegan_jax.config import ExperimentConfig
from stylegan_jax.models import Gan
from stylegan_jax.train import compiling
from stylegan_jax.train.sharding import Layout
from stylegan_jax.train.state import TrainState, ema_model


def grid_size(config: ExperimentConfig) -> int:
    """Return the number of cells."""
    return config.log.grid_columns * config.log.grid_rows


class Grid:
    """Draws the averaged generator at fixed latents, `noise='const'`, no truncation; labels go by rows.

    Args:
        gan: the model.
        config: gives the number of columns and rows.
        layout: cells are split over its devices.
        root_key: the run's root key.
    """

    def __init__(self, gan: Gan, config: ExperimentConfig, layout: Layout, root_key: jax.Array):
        self._count = grid_size(config)
        devices = layout.shards
        self._chunk = -(-min(self._count, 16) // devices) * devices
        padded = -(-self._count // self._chunk) * self._chunk
        z = jax.random.normal(rng.stream(root_key, "grid"), (padded, gan.spec.z_dim))
        rows = np.arange(padded) // config.log.grid_columns
        label = np.zeros((padded, gan.spec.label_dim), np.float32)
        if gan.spec.label_dim:
            label[np.arange(padded), rows % gan.spec.label_dim] = 1
        self._z, self._label, self._batch, self._place = np.asarray(z), label, layout.batch, layout.place

        def draw(model, z, label):
            ws = gan.map_latents(model, z, label)
            return gan.synthesize({"params": model["params"], "buffers": model["buffers"]}, ws, noise="const")

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
    return {"params": model["params"], "buffers": model["buffers"]}
