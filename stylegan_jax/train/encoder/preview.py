"""The sample grid of an encoder's run: rows of targets, their reconstructions and two edits, the same every time."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import images
from stylegan_jax.base.spec import Tree, Variables
from stylegan_jax.encoders import Encoder, restyle
from stylegan_jax.models import Gan
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.encoder.objective import GENERATOR, E, image_of
from stylegan_jax.train.state import TrainState

ROWS = 4
EDIT = 2.0
"""Strength of the edits, in standard deviations along the direction."""


class EncoderPreview:
    """Shows targets, reconstructions, and edits along the two principal directions of W, with constant noise.

    Args:
        encoder: the bundle.
        gan: the generator's bundle.
        layout: images are split over its devices.
        targets: uint8[m, h, w, c] at the generator's size.
        columns: columns of the grid.
    """

    def __init__(self, encoder: Encoder, gan: Gan, layout: Layout, targets: np.ndarray, columns: int):
        self._count, self._columns = len(targets), columns
        padded = -(-self._count // layout.shards) * layout.shards
        self._targets = targets[np.arange(padded) % self._count]
        self._layout = layout

        def draw(e: Variables, frozen: Mapping[str, Tree], pixels: jax.Array) -> jax.Array:
            synthesize = functools.partial(image_of, gan, frozen, key=None)
            ws, _ = restyle.iterate(encoder, e, synthesize, images.from_pixels(pixels))
            moved = [ws, *(ws + EDIT * direction[None, None] for direction in frozen[GENERATOR]["edits"])]
            return jnp.stack([synthesize(w) for w in moved])

        shardings = (None, layout.replicated, layout.batch)  # None: keep the sharding of the argument
        self._jitted = jax.jit(draw, in_shardings=shardings, out_shardings=layout.replicated)
        self._draw = None

    def compile(self, state: TrainState, frozen: Any) -> None:
        """Compile the program for a state and frozen networks, or their abstract shapes."""
        x = self._targets
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._layout.batch)
        generator = {GENERATOR: frozen[GENERATOR]}
        lowered = compiling.lower(self._jitted, state.nets[E], generator, shape)
        self._draw = lowered.compile(compiler_options=compiling.quick_options())

    def draw(self, state: TrainState, frozen: Any) -> np.ndarray:
        """Return uint8[cells, h, w, c], `ROWS` rows of the grid per row of targets; waits for the device."""
        draw = self._draw or self._jitted
        targets = self._layout.place(self._targets, self._layout.batch)
        drawn = images.to_pixels(jax.device_get(draw(state.nets[E], {GENERATOR: frozen[GENERATOR]}, targets)))
        cells = np.concatenate([self._targets[None], drawn])[:, : self._count]  # [4, m, h, w, c]
        bands = cells.reshape(ROWS, -1, self._columns, *cells.shape[2:])
        return np.moveaxis(bands, 1, 0).reshape(-1, *cells.shape[2:])
