"""The feature maps of a loaded model's synthesis layers, from `Gan.features`."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import numpy as np

from stylegan_jax import models
from stylegan_jax.base.spec import Array, Inputs
from stylegan_jax.sampling.model import LoadedModel, as_styles, synthesis_inputs

PICTURE = "picture"
"""The name of the network's output, next to its layers' names."""


@functools.lru_cache(maxsize=16)
def list_layers(gan: models.Gan) -> dict[str, tuple[int, ...]]:
    """Return the layers whose feature maps `layer_maps` returns, from coarse to fine: {name: (h, w, c)}.

    Only shapes are traced; nothing is computed.

    Raises:
        ValueError: the architecture does not support it.
    """
    if gan.features is None:
        raise ValueError("this architecture does not expose the feature maps of its layers; use another model")
    draw, spec = gan.features, gan.spec
    g = jax.eval_shape(gan.init_g, jax.random.key(0))
    ws = jax.ShapeDtypeStruct((1, spec.num_ws, spec.w_dim), np.float32)
    inputs = {name: jax.ShapeDtypeStruct((1, *shape), np.float32) for name, shape in spec.inputs.items() if name != "z"}
    found = jax.eval_shape(lambda g, ws, inputs: draw(g, ws, inputs)[1], g, ws, inputs)
    number = lambda name: int(re.sub(r"\D", "", name) or -1)  # the Fourier features have none
    return {name: found[name].shape[-3:] for name in sorted(found, key=number)}


def layer_maps(model: LoadedModel, ws: Array, inputs: Inputs | None = None) -> dict[str, np.ndarray]:
    """Return {name: float32[h, w, c]}, the feature maps of all layers for one style, and the image as `PICTURE`.

    Args:
        model: the generator, which draws with its constant noise.
        ws: float[l, w].
        inputs: for an architecture that draws more than z, one row of what `LoadedModel.draw_inputs` returns. For a
            clip, the maps are those of its first frame.

    Raises:
        ValueError: styles do not fit, inputs are missing, or the architecture does not support it.
    """
    names, spec = list_layers(model.gan), model.gan.spec
    row = as_styles(np.asarray(ws)[None], spec)
    sample, found = _program(model.gan)(model.on_device().g_ema, row, synthesis_inputs(inputs, spec, 1))
    first = lambda x: np.asarray(x, np.float32).reshape(-1, *x.shape[-3:])[0]
    return {name: first(found[name]) for name in names} | {PICTURE: first(sample["image"])}


@functools.lru_cache(maxsize=4)
def _program(gan: models.Gan) -> Any:
    assert gan.features is not None
    return jax.jit(gan.features)
