"""The frames of clips at one time as a bundle of images, for everything that draws images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from stylegan_jax.base.spec import Inputs
from stylegan_jax.models.gan import DrawAt, Gan


def one_frame(draw_at: DrawAt, key: jax.Array, time: jax.Array, cond: jax.Array) -> Inputs:
    """Return the inputs of a frame, without an axis of examples, from its video's key, its time and label."""
    return {name: x[0] for name, x in draw_at(key, time[None, None], cond[None]).items()}


def still(gan: Gan, time: float, key: jax.Array | None = None, label: Sequence[float] = ()) -> Gan:
    """Return the bundle of images that are the frames of a bundle of clips at a time; it has no discriminator.

    Args:
        gan: with `draw_at`.
        time: in frames of the data, starting at 0.
        key: the key of the motion of all images; None: each draws its own.
        label: the label of the motion of all images, of length k; (): each image's own. With `key`, and `label` if
            there are labels, styles alone determine the image; otherwise `inputs` has the other inputs of a frame.
    """
    spec, draw_at, at = gan.spec, gan.draw_at, jnp.float32(time)
    assert draw_at is not None, "images have no time"
    shapes = jax.eval_shape(
        functools.partial(one_frame, draw_at), jax.random.key(0), at, jax.ShapeDtypeStruct((spec.label_dim,), at.dtype)
    )
    own = {name: x.shape for name, x in shapes.items() if name != "times"}
    if key is not None and (label or not spec.label_dim):
        own = {}
    sample, inputs = {"image": spec.image_shape}, {"z": spec.inputs["z"], **own}
    here = spec._replace(sample=FrozenDict(sample), inputs=FrozenDict(inputs))

    def draw_inputs(own_key: jax.Array, n: int, cond: jax.Array) -> Inputs:
        z = gan.draw_inputs(own_key, n, cond)["z"]
        if key is not None:
            drawn = jax.vmap(functools.partial(one_frame, draw_at, key, at))(cond)
        else:
            drawn = draw_at(own_key, jnp.broadcast_to(at, (n, 1)), cond)
        return {"z": z} | {name: drawn[name] for name in own}

    def rest_of(n: int, inputs: Inputs) -> Inputs:
        rest = {name: inputs[name] for name in own} | {"times": jnp.broadcast_to(at, (n, 1))}
        if key is not None and not own:
            drawn = one_frame(draw_at, key, at, jnp.asarray(label, jnp.float32))
            rest = {name: jnp.broadcast_to(x[None], (n, *x.shape)) for name, x in drawn.items()}
        return rest

    def synthesize(g, ws, inputs, **options) -> Any:
        made, moved = gan.synthesize(g, ws, rest_of(ws.shape[0], inputs), **options)
        return {"image": made["image"][:, 0]}, moved

    def features(g, ws, inputs, *, noise="const") -> Any:
        assert gan.features is not None
        made, maps = gan.features(g, ws, rest_of(ws.shape[0], inputs), noise=noise)
        return {"image": made["image"][:, 0]}, {name: x[:, 0] for name, x in maps.items()}

    own_calls: Any = {"draw_inputs": draw_inputs, "synthesize": synthesize, "discriminate": _judges_clips}
    own_calls["features"] = None if gan.features is None else features
    return gan._replace(spec=here, grown=None, draw_at=None, **own_calls)


def _judges_clips(d, frozen, sample, cond, *, key=None, train=False) -> Any:
    raise ValueError(
        "the discriminator of a model of videos sees clips; take the model that this picture is a frame of"
    )
