"""ResNet34 (He et al. 2016) as the body of an encoder, which ReStyle uses for everything but faces.

torchvision's blocks after a first convolution with PReLU and without pooling, as in yuval-alaluf/restyle-encoder (MIT).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax

from stylegan_jax.features.irse import ONE, STATS, WIDTHS, Norm, Unit, prelu
from stylegan_jax.ops.conv import conv2d

BLOCKS = (3, 4, 6, 3)


def plan(counts: Sequence[int] = BLOCKS, widths: Sequence[int] = WIDTHS) -> list[list[Unit]]:
    """Return the blocks of each group; all groups but the first halve the size."""
    out: list[list[Unit]] = []
    inside, index = widths[0], 0
    for group, (count, width) in enumerate(zip(counts, widths, strict=True)):
        out.append([])
        for k in range(count):
            out[-1].append(Unit(f"block{index}", inside, width, 2 if group and k == 0 else 1))
            inside, index = width, index + 1
    return out


def maps(params: Any, x: jax.Array, groups: Sequence[Sequence[Unit]], norm: Norm) -> list[jax.Array]:
    """Return the outputs of the last three groups of blocks for float[n, h, w, c], from coarse to fine."""
    own, out = params["input"], []
    x = conv2d(x, own["conv"], stride=2, padding=((3, 3), (3, 3)))
    x = prelu(norm(x, "input", "norm"), own["prelu"])
    for group in groups:
        for name, _, _, stride in group:
            x = _block(params[name], x, stride, lambda y, part, name=name: norm(y, name, part))
        out.append(x)
    return out[:0:-1]


def _block(params: Any, x: jax.Array, stride: int, norm: Norm) -> jax.Array:
    y = jax.nn.relu(norm(conv2d(x, params["conv1"], padding=ONE, stride=stride), "norm1"))
    y = norm(conv2d(y, params["conv2"], padding=ONE), "norm2")
    if "shortcut" in params:
        x = norm(conv2d(x[:, ::stride, ::stride], params["shortcut"]), "shortcut_norm")
    return jax.nn.relu(x + y)


_INPUT = {"conv": "conv1.weight", "norm": "bn1", "prelu": "relu.weight"}
_BLOCK = {"conv1": "conv1.weight", "norm1": "bn1", "conv2": "conv2.weight", "norm2": "bn2"}
_BLOCK |= {"shortcut": "downsample.0.weight", "shortcut_norm": "downsample.1"}


def tensor_name(path: Sequence[str]) -> str:
    """Return the name of an array in ReStyle's files, by its path in the body."""
    layer, part, *rest = path
    name = _INPUT[part] if layer == "input" else f"body.{layer.removeprefix('block')}.{_BLOCK[part]}"
    return ".".join([name, *(STATS.get(leaf, leaf) for leaf in rest)])


def torchvision_name(path: Sequence[str]) -> str:
    """Return the name of an array in torchvision's ResNet34; '' for the PReLU that it lacks."""
    name = tensor_name(path)
    if not (m := re.fullmatch(r"body\.(\d+)\.(.+)", name)):
        return "" if name == "relu.weight" else name
    group, index = 0, int(m[1])
    while index >= BLOCKS[group]:
        group, index = group + 1, index - BLOCKS[group]
    return f"layer{group + 1}.{index}.{m[2]}"
