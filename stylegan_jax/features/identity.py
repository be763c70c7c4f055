"""Whose face it is: ArcFace's IR-SE50 and CurricularFace's IR-101, the measures of identity of encoders and edits.

ArcFace (Deng et al. 2019, arXiv:1801.07698) with the weights of TreB1eN/InsightFace_Pytorch (MIT), and CurricularFace
(Huang et al. 2020, arXiv:2004.00288), both as eladrich/pixel2style2pixel (MIT) runs them. There are two conventions,
and values of one do not compare with the other's: losses cut a fixed square out of aligned pictures ('crop'), published
figures align each face to 112x112 first ('embedding').
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import irse, layers
from stylegan_jax.features.network import Network, Params, Tensors, check, full_precision
from stylegan_jax.ops.norm import EPS_BATCH
from stylegan_jax.ops.resize import resize_area

SIZE, LENGTH, FINAL = 112, 512, 7
SEEN = 256
ROWS, COLUMNS = (35, 223), (32, 220)
"""The part of a 256x256 picture, aligned as FFHQ, that losses look at."""
OUTPUTS = {"embedding": LENGTH, "crop": LENGTH}
_HEAD = {"norm": "output_layer.0", "dense": "output_layer.3", "last": "output_layer.4"}


def cropped(x: jax.Array) -> jax.Array:
    """Return the face float[n, 112, 112, c] of aligned pictures float[n, h, w, c], as the loss of pSp cuts it out."""
    x = resize_area(x, (SEEN, SEEN))[:, slice(*ROWS), slice(*COLUMNS)]
    return resize_area(x, (SIZE, SIZE))


def unit_length(x: jax.Array) -> jax.Array:
    """Return float[n, d] divided by its length."""
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=1, keepdims=True))


def shapes(depth: int, squeeze: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a weights file; the last normalisation may have a weight and a bias too."""
    first = irse.WIDTHS[0]
    out = {"input_layer.0.weight": (first, 3, 3, 3), "input_layer.2.weight": (first,)}
    out |= layers.norm_shapes("input_layer.1", first)
    for index, unit in enumerate(unit for group in irse.plan(irse.UNITS[depth], irse.WIDTHS) for unit in group):
        name, inside, outside = f"body.{index}", unit.inside, unit.outside
        out |= layers.norm_shapes(f"{name}.res_layer.0", inside)
        out[f"{name}.res_layer.1.weight"] = (outside, inside, 3, 3)
        out[f"{name}.res_layer.2.weight"] = (outside,)
        out[f"{name}.res_layer.3.weight"] = (outside, outside, 3, 3)
        out |= layers.norm_shapes(f"{name}.res_layer.4", outside)
        if squeeze:
            out[f"{name}.res_layer.5.fc1.weight"] = (outside // squeeze, outside, 1, 1)
            out[f"{name}.res_layer.5.fc2.weight"] = (outside, outside // squeeze, 1, 1)
        if inside != outside:
            out[f"{name}.shortcut_layer.0.weight"] = (outside, inside, 1, 1)
            out |= layers.norm_shapes(f"{name}.shortcut_layer.1", outside)
    out |= layers.norm_shapes(_HEAD["norm"], irse.WIDTHS[-1])
    out |= {f"{_HEAD['dense']}.weight": (LENGTH, irse.WIDTHS[-1] * FINAL**2), f"{_HEAD['dense']}.bias": (LENGTH,)}
    return out | {f"{_HEAD['last']}.{part}": (LENGTH,) for part in ("running_mean", "running_var")}


def _scale(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    """Return a batch normalisation at inference as a scale and a shift, in float64."""
    mean, var = (np.float64(tensors[f"{name}.running_{part}"]) for part in ("mean", "var"))
    gamma, beta = (np.float64(tensors.get(f"{name}.{part}", start)) for part, start in (("weight", 1), ("bias", 0)))
    scale = gamma / np.sqrt(var + EPS_BATCH)
    return {"weight": scale, "bias": beta - mean * scale}


def convert(depth: int, squeeze: int, tensors: Tensors) -> Params:
    """Return the parameters from tensors as in `shapes`; normalisations become scales and shifts."""
    check(tensors, shapes(depth, squeeze))
    params: dict[str, Any] = {}

    def put(layer: str, part: str) -> None:
        name = irse.tensor_name((layer, part))
        rank = 2 if part in ("down", "up") else 4
        is_norm = part in ("norm", "norm1", "norm2", "shortcut_norm")
        value = _scale(tensors, name) if is_norm else irse.rearranged(tensors[name], rank)
        params.setdefault(layer, {})[part] = jax.tree.map(np.float32, value)

    for part in ("conv", "norm", "prelu"):
        put("input", part)
    for unit in (unit for group in irse.plan(irse.UNITS[depth], irse.WIDTHS) for unit in group):
        parts = ["norm1", "conv1", "prelu", "conv2", "norm2"] + ["down", "up"] * bool(squeeze)
        for part in parts + ["shortcut", "shortcut_norm"] * (unit.inside != unit.outside):
            put(unit.name, part)
    last = _scale(tensors, _HEAD["last"])
    kernel = np.float64(tensors[f"{_HEAD['dense']}.weight"]).reshape(LENGTH, -1, FINAL, FINAL)
    kernel = kernel.transpose(2, 3, 1, 0).reshape(-1, LENGTH) * last["weight"]
    bias = tensors[f"{_HEAD['dense']}.bias"] * last["weight"] + last["bias"]
    head = {"norm": _scale(tensors, _HEAD["norm"]), "dense": {"kernel": kernel, "bias": bias}}
    return params | {"head": jax.tree.map(np.float32, head)}


def embed(depth: int, params: Params, x: jax.Array) -> jax.Array:
    """Return what the network makes of faces float[n, 112, 112, 3] in [-1, 1]: float[n, 512] of length 1."""
    shift = lambda x, own: x * own["weight"][None, None, None] + own["bias"][None, None, None]
    norm = lambda x, layer, part: shift(x, params[layer][part])
    x = irse.body(params, x, irse.plan(irse.UNITS[depth], irse.WIDTHS), norm)[-1]
    x = shift(x, params["head"]["norm"])
    return unit_length(layers.dense(x.reshape(len(x), -1), params["head"]["dense"]))


def _network(depth: int, squeeze: int) -> Network:
    @full_precision
    def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
        """Run the network.

        Args:
            params: of `convert`.
            images: float[n, h, w, 3] in [0, 255], any size.
            outputs: of 'embedding', of images that are one aligned face each, resized by area to 112x112; and 'crop',
                of pictures aligned as FFHQ, out of which `cropped` cuts the face.

        Returns:
            {output: float32[n, 512]}, each row of length 1.
        """
        x = images.astype(jnp.float32) / 127.5 - 1
        seen = {"embedding": lambda x: resize_area(x, (SIZE, SIZE)), "crop": cropped}
        return {name: embed(depth, params, seen[name](x)) for name in outputs}

    return Network(
        functools.partial(shapes, depth, squeeze),
        lambda tensors: tensors,
        functools.partial(convert, depth, squeeze),
        apply,
        lambda params: OUTPUTS,
    )


NETWORKS = {"ir_se50": _network(50, irse.SQUEEZE), "curricularface": _network(100, 0)}
