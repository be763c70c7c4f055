"""The sample grid of a GAN's run, with the same latents and labels every time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import images, rng
from stylegan_jax.config import ExperimentConfig, Level
from stylegan_jax.models import Gan, grown
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.sampling import drawing
from stylegan_jax.train.state import TrainState

FRAMES = 16
"""Number of frames, from the start of a video, in a preview of clips."""


class GanPreview:
    """Samples the averaged generator at fixed latents with constant noise and without truncation.

    Args:
        gan: the model's bundle.
        layout: cells are split over its devices.
        config: the experiment, for its seed.
        label: float32[cells, k], labels of the cells.
        level: the part of the run; None: the whole model.
    """

    def __init__(
        self, gan: Gan, layout: Layout, config: ExperimentConfig, label: np.ndarray, level: Level | None = None
    ):
        self._count = len(label)
        devices, frames = layout.shards, FRAMES if "times" in gan.spec.inputs else 1
        self._chunk = -(-min(self._count, max(16 // frames, 1)) // devices) * devices
        padded = -(-self._count // self._chunk) * self._chunk
        self._label = label[np.arange(padded) % self._count]
        key = rng.stream(rng.root(config.train.seed), "grid")
        self._inputs = jax.device_get(gan.draw_inputs(key, padded, jnp.asarray(self._label)))
        if frames > 1:
            times = np.arange(frames, dtype=np.float32)
            self._inputs["times"] = np.broadcast_to(times, (padded, frames)).copy()
        self._batch, self._place = layout.batch, layout.place

        def draw(model, inputs, label):
            here = grown.faded(gan, level, grown.fade_at(level, model["nimg"])) if level else gan
            ws = drawing.map_styles(here, model["g"], None, inputs, label)
            return drawing.draw(here, model["g"], ws, inputs)

        shardings = (None, layout.batch, layout.batch)  # None: keep the sharding of the argument
        self._jitted = jax.jit(draw, in_shardings=shardings, out_shardings=layout.replicated)
        self._draw = None

    def compile(self, state: TrainState, frozen: Any = None) -> None:
        """Compile the program for a state or its abstract shapes."""
        shape = lambda x: jax.ShapeDtypeStruct((self._chunk, *x.shape[1:]), x.dtype, sharding=self._batch)
        lowered = compiling.lower(self._jitted, _drawn(state), jax.tree.map(shape, self._inputs), shape(self._label))
        self._draw = lowered.compile(compiler_options=compiling.quick_options())

    def draw(self, state: TrainState, frozen: Any = None) -> np.ndarray:
        """Return uint8[cells, h, w, c], or uint8[cells, t, h, w, c] for clips; waits for the device."""
        draw = self._draw or self._jitted
        model, out = _drawn(state), []
        for start in range(0, len(self._label), self._chunk):
            some = lambda x, start=start: x[start : start + self._chunk]
            part = jax.tree.map(some, self._inputs), some(self._label)
            inputs, label = self._place(part, jax.tree.map(lambda _: self._batch, part))
            out.append(images.to_pixels(jax.device_get(draw(model, inputs, label))))
        return np.concatenate(out)[: self._count]


def _drawn(state: TrainState) -> dict[str, Any]:
    return {"g": state.nets["g"] | {"params": state.ema["g"]}, "nimg": state.nimg}
