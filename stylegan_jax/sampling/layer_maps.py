"""The feature maps that the layers of a synthesis network compute on the way to a picture, by name."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax import models
from stylegan_jax.base.spec import Array, Inputs
from stylegan_jax.sampling import drawing
from stylegan_jax.sampling.model import LoadedModel, as_styles, synthesis_inputs


class Layer(NamedTuple):
    """A layer: its path in the synthesis network, and the shape of its output."""

    name: str
    height: int
    width: int
    channels: int


def list_layers(model: LoadedModel) -> list[Layer]:
    """Return the layers whose output is a feature map, in the order of their paths; nothing is computed."""
    spec = model.gan.spec
    ws = jax.ShapeDtypeStruct((1, spec.num_ws, spec.w_dim), np.float32)
    names = [name for name in spec.inputs if name != "z"]
    inputs = {name: jax.ShapeDtypeStruct((1, *spec.inputs[name]), np.float32) for name in spec.inputs} if names else {}
    found = jax.eval_shape(_maps(model.gan, model.config), model.g_ema, ws, inputs)
    return [Layer(name, *x.shape[-3:]) for name, x in found.items()]


def layer_maps(model: LoadedModel, ws: Array, inputs: Inputs | None = None) -> dict[str, jax.Array]:
    """Return {name: float[h, w, c]}, the outputs of all layers for one style; noise is the model's own.

    Args:
        model: the generator.
        ws: float[l, w].
        inputs: for an architecture that draws more than z, one row, as returned by `LoadedModel.draw_inputs`. For a
            clip, the maps are those of its first frame.

    Raises:
        ValueError: styles do not fit, or inputs are missing.
    """
    spec = model.gan.spec
    row = as_styles(np.asarray(ws)[None], spec)
    found = _maps(model.gan, model.config)(model.on_device().g_ema, row, synthesis_inputs(inputs, spec, 1))
    return {name: x[0] for name, x in found.items()}


@functools.lru_cache(maxsize=4)
def _maps(gan: models.Gan, config: Any) -> Any:
    """Return the program (variables, ws, inputs) -> {name: float[n, h, w, c]}."""
    from flax import linen as nn

    whole = gan if not config.remat_from else models.build(dataclasses.replace(config, remat_from=0))
    if whole.spec != gan.spec:
        raise ValueError(f"remat_from={config.remat_from}: values of a frame's layers cannot leave what is recomputed")

    def run(g, ws, inputs):
        found: dict[str, jax.Array] = {}

        def note(call, args, kwargs, context):
            result = call(*args, **kwargs)
            first = result[0] if isinstance(result, tuple) else result
            if context.method_name == "__call__" and context.module.path and getattr(first, "ndim", 0) == 4:
                found["/".join(context.module.path)] = first
            return result

        with nn.intercept_methods(note):
            drawing.draw(whole, g, ws, inputs)
        return found

    return jax.jit(run)
