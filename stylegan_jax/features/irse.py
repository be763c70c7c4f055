"""IR-SE: residual networks for faces, with squeeze and excitation (Deng et al. 2019, arXiv:1801.07698; Hu et al. 2018).

`body` is what encoders train and what ArcFace's and CurricularFace's networks run, with batch normalisation as the
caller has it. Layout and names are those of TreB1eN/InsightFace_Pytorch (MIT), as eladrich/pixel2style2pixel (MIT) and
omertov/encoder4editing (MIT) have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.ops.conv import Pads, conv2d

UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
"""Residual units per group, of which the first halves the size, by the number of layers."""
WIDTHS = (64, 128, 256, 512)
SQUEEZE = 16
ONE: Pads = ((1, 1), (1, 1))

Norm = Callable[..., jax.Array]
"""(x, *path of a batch normalisation in the parameters) -> x normalised."""


class Unit(NamedTuple):
    """A residual unit: its name, channels and stride."""

    name: str
    inside: int
    outside: int
    stride: int


def plan(counts: Sequence[int], widths: Sequence[int]) -> list[list[Unit]]:
    """Return the units of each group."""
    out: list[list[Unit]] = []
    inside, index = widths[0], 0
    for count, width in zip(counts, widths, strict=True):
        out.append([])
        for k in range(count):
            out[-1].append(Unit(f"unit{index}", inside, width, 2 if k == 0 else 1))
            inside, index = width, index + 1
    return out


def prelu(x: jax.Array, slope: jax.Array) -> jax.Array:
    """Return float[n, h, w, c] where positive, elsewhere times its channel's slope float[c] (He et al. 2015)."""
    return jnp.where(x > 0, x, slope[None, None, None] * x)


def unit(params: Any, x: jax.Array, stride: int, norm: Norm) -> jax.Array:
    """Apply a residual unit: normalise, 3x3, PReLU, 3x3 with the stride, normalise, excite, add.

    Args:
        params: kernels 'conv1', 'conv2', slopes 'prelu', and 'down' and 'up' where channels are excited, 'shortcut'
            where their number changes.
        x: float[n, h, w, c].
        stride: 1 or 2.
        norm: (x, name) -> x; names are 'norm1', 'norm2' and 'shortcut_norm'.

    Returns:
        float[n, h / stride, w / stride, c'], rounded up.
    """
    y = prelu(conv2d(norm(x, "norm1"), params["conv1"], padding=ONE), params["prelu"])
    y = norm(conv2d(y, params["conv2"], padding=ONE, stride=stride), "norm2")
    if "down" in params:
        scale = jax.nn.relu(y.mean(axis=(1, 2)) @ params["down"]) @ params["up"]
        y = y * jax.nn.sigmoid(scale)[:, None, None]
    x = x[:, ::stride, ::stride]
    return y + (norm(conv2d(x, params["shortcut"]), "shortcut_norm") if "shortcut" in params else x)


def body(params: Any, x: jax.Array, groups: Sequence[Sequence[Unit]], norm: Norm) -> list[jax.Array]:
    """Return what each group of units makes, from fine to coarse.

    Args:
        params: {'input': …, 'unit0': …}.
        x: float[n, h, w, c].
        groups: as from `plan`.
        norm: (x, layer, name) -> x.
    """
    own, out = params["input"], []
    x = prelu(norm(conv2d(x, own["conv"], padding=ONE), "input", "norm"), own["prelu"])
    for group in groups:
        for name, _, _, stride in group:
            x = unit(params[name], x, stride, lambda y, part, name=name: norm(y, name, part))
        out.append(x)
    return out


_INPUT = {"conv": "0.weight", "norm": "1", "prelu": "2.weight"}
_UNIT = {
    **{"norm1": "res_layer.0", "conv1": "res_layer.1.weight", "prelu": "res_layer.2.weight"},
    **{"conv2": "res_layer.3.weight", "norm2": "res_layer.4"},
    **{"down": "res_layer.5.fc1.weight", "up": "res_layer.5.fc2.weight"},
    **{"shortcut": "shortcut_layer.0.weight", "shortcut_norm": "shortcut_layer.1"},
}
STATS = {"mean": "running_mean", "var": "running_var"}


def tensor_name(path: Sequence[str]) -> str:
    """Return the published name of an array of `body` or of its statistics, by its path."""
    layer, part, *rest = path
    names, place = (_INPUT, "input_layer") if layer == "input" else (_UNIT, f"body.{layer.removeprefix('unit')}")
    return ".".join([place, names[part], *(STATS.get(leaf, leaf) for leaf in rest)])


def counts_of(names: Sequence[str]) -> int:
    """Return how many residual units tensors of these published names belong to."""
    return len({m[1] for name in names if (m := re.match(r"body\.(\d+)\.", name))})


def rearranged(value: np.ndarray, rank: int) -> np.ndarray:
    """Return an array of PyTorch in our layout: kernels as HWIO, dense layers as [in, out] of `rank` 2."""
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        return value[0, 0] if rank == 2 and value.shape[:2] == (1, 1) else value
    return value.T if value.ndim == 2 else value
