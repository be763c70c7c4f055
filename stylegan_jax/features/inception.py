"""Inception-V3 of 2015-12-05, the network of FID and Inception Score (Szegedy et al. 2015, arXiv:1512.00567).

It differs from later Inception-V3s: average pooling ignores the padding, the last block pools by maximum, there are
1008 classes, and images are resized by TensorFlow 1's bilinear rule to 299x299 and scaled to (x - 128) / 128.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers
from stylegan_jax.features.network import Network, Params, Tensors, check, full_precision

SIZE, CLASSES, WIDTH, EPS = 299, 1008, 2048, 1e-3
SPATIAL_CHANNELS, SPATIAL_SIZE = 7, 17
OUTPUTS = {"pool": WIDTH, "probs": CLASSES, "probs_no_bias": CLASSES, "spatial": SPATIAL_CHANNELS * SPATIAL_SIZE**2}


class Conv(NamedTuple):
    """A convolution with batch normalisation and ReLU; without stride it keeps the size unless `valid`."""

    name: str
    channels: int
    kernel: tuple[int, int]
    stride: int = 1
    valid: bool = False


Step = Conv | str | tuple[Conv, ...]
"""A convolution, one of the pools 'average', 'max', 'shrink' (max with stride 2), or a fork, whose ends are joined."""
Branch = tuple[Step, ...]


def _square(name: str, channels: int, size: int, **options) -> Conv:
    return Conv(name, channels, (size, size), **options)


def _block_a(pool: int) -> tuple[Branch, ...]:
    return (
        (_square("branch1x1", 64, 1),),
        (_square("branch5x5_1", 48, 1), _square("branch5x5_2", 64, 5)),
        (_square("branch3x3dbl_1", 64, 1), _square("branch3x3dbl_2", 96, 3), _square("branch3x3dbl_3", 96, 3)),
        ("average", _square("branch_pool", pool, 1)),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        (_square("branch3x3", 384, 3, stride=2, valid=True),),
        (
            _square("branch3x3dbl_1", 64, 1),
            _square("branch3x3dbl_2", 96, 3),
            _square("branch3x3dbl_3", 96, 3, stride=2, valid=True),
        ),
        ("shrink",),
    )


def _block_c(width: int) -> tuple[Branch, ...]:
    row, column = (1, 7), (7, 1)
    return (
        (_square("branch1x1", 192, 1),),
        (
            _square("branch7x7_1", width, 1),
            Conv("branch7x7_2", width, row),
            Conv("branch7x7_3", 192, column),
        ),
        (
            _square("branch7x7dbl_1", width, 1),
            Conv("branch7x7dbl_2", width, column),
            Conv("branch7x7dbl_3", width, row),
            Conv("branch7x7dbl_4", width, column),
            Conv("branch7x7dbl_5", 192, row),
        ),
        ("average", _square("branch_pool", 192, 1)),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        (_square("branch3x3_1", 192, 1), _square("branch3x3_2", 320, 3, stride=2, valid=True)),
        (
            _square("branch7x7x3_1", 192, 1),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            _square("branch7x7x3_4", 192, 3, stride=2, valid=True),
        ),
        ("shrink",),
    )


def _block_e(pool: str) -> tuple[Branch, ...]:
    return (
        (_square("branch1x1", 320, 1),),
        (
            _square("branch3x3_1", 384, 1),
            (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            _square("branch3x3dbl_1", 448, 1),
            _square("branch3x3dbl_2", 384, 3),
            (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pool, _square("branch_pool", 192, 1)),
    )


STEM: Branch = (
    _square("Conv2d_1a_3x3", 32, 3, stride=2, valid=True),
    _square("Conv2d_2a_3x3", 32, 3, valid=True),
    _square("Conv2d_2b_3x3", 64, 3),
    "shrink",
    _square("Conv2d_3b_1x1", 80, 1),
    _square("Conv2d_4a_3x3", 192, 3, valid=True),
    "shrink",
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _block_b(),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _block_d(),
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("max"),
}


def _convs(branch: Branch) -> Iterator[tuple[Conv, ...]]:
    """Yield the convolutions of a branch; those of a fork come together."""
    for step in branch:
        if not isinstance(step, str):
            yield (step,) if isinstance(step, Conv) else step


def _plan() -> list[tuple[str, Conv, int]]:
    """Return (full name, convolution, input channels) of all convolutions, in order."""
    plan, width = [], 3
    for (step,) in _convs(STEM):
        plan.append((step.name, step, width))
        width = step.channels
    for block, branches in BLOCKS.items():
        total = 0
        for branch in branches:
            inside = width
            for fork in _convs(branch):
                plan += [(f"{block}.{step.name}", step, inside) for step in fork]
                inside = sum(step.channels for step in fork)
            total += inside
        width = total
    return plan


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of a weights file in the layout of pytorch-fid and torch-fidelity."""
    out = {}
    for name, step, width in _plan():
        out[f"{name}.conv.weight"] = (step.channels, width, *step.kernel)
        out |= layers.norm_shapes(f"{name}.bn", step.channels)
    return out | {"fc.weight": (CLASSES, WIDTH), "fc.bias": (CLASSES,)}


def convert(tensors: Tensors) -> Params:
    """Return the parameters from tensors as in `shapes`: {layer: {'kernel', 'bias'}}.

    The 1x1 convolutions that read a block's input are one layer '<block>.heads'.
    """
    check(tensors, shapes())
    params = {name: layers.folded(tensors, f"{name}.conv", f"{name}.bn", EPS) for name, _, _ in _plan()}
    for block, branches in BLOCKS.items():
        heads = [params.pop(f"{block}.{head.name}") for branch in branches if (head := _head(branch))]
        joined = {part: np.concatenate([head[part] for head in heads], axis=-1) for part in ("kernel", "bias")}
        params[f"{block}.heads"] = joined
    return params | {"fc": layers.conv_layer(tensors["fc.weight"], tensors["fc.bias"])}


def _head(branch: Branch) -> Conv | None:
    """Return the 1x1 convolution that a branch starts with; average pooling before it is moved after it, with the same
    result."""
    step = branch[1] if branch[0] == "average" else branch[0]
    return step if isinstance(step, Conv) and step.kernel == (1, 1) else None


def _run(x: jax.Array, params: Params, prefix: str, branch: Branch) -> jax.Array:
    for step in branch:
        if step == "average":
            x = layers.average_pool(x)
        elif step == "max":
            x = layers.max_pool(x, 3, 1, ((1, 1), (1, 1)))
        elif step == "shrink":
            x = layers.max_pool(x, 3, 2)
        elif not isinstance(step, str):
            fork = (step,) if isinstance(step, Conv) else step
            x = jnp.concatenate([_relu_conv(x, params, prefix + s.name, s) for s in fork], axis=-1)
    return x


def _relu_conv(x: jax.Array, params: Params, name: str, step: Conv) -> jax.Array:
    padding = layers.NO_PADS if step.valid else None
    return jax.nn.relu(layers.conv(x, params[name], stride=step.stride, padding=padding))


def _block(x: jax.Array, params: Params, block: str) -> list[jax.Array]:
    """Return the ends of all branches of a block."""
    heads, at, ends = layers.conv(x, params[f"{block}.heads"]), 0, []
    for branch in BLOCKS[block]:
        if head := _head(branch):
            part = heads[..., at : at + head.channels]
            at += head.channels
            averaged = branch[0] == "average"
            part = jax.nn.relu(layers.average_pool(part) if averaged else part)
            ends.append(_run(part, params, f"{block}.", branch[1 + averaged :]))
        else:
            ends.append(_run(x, params, f"{block}.", branch))
    return ends


@full_precision
def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run the network.

    Args:
        params: of `convert`.
        images: float[n, h, w, 3] in [0, 255], any size.
        outputs: any of 'pool', float32[n, 2048]; 'probs' and 'probs_no_bias', float32[n, 1008], the softmax with and
            without the bias of the last layer (the Inception Score is without); 'spatial', float32[n, 2023], the first
            seven channels of the 1x1 branch of the third 17x17 block after its ReLU, channel by channel (sFID: Nash et
            al. 2021, arXiv:2103.03841 §5; TensorFlow's mixed_6/conv).

    Returns:
        {output: float32[n, k]}; only the layers that these need are computed.
    """
    x = layers.normalise(layers.resize(images.astype(jnp.float32), (SIZE, SIZE)), [128] * 3, [128] * 3)
    x = _run(x, params, "", STEM)
    out = {}
    for block in BLOCKS:
        ends = _block(x, params, block)
        if block == "Mixed_6d" and "spatial" in outputs:
            out["spatial"] = ends[0][..., :SPATIAL_CHANNELS].transpose(0, 3, 1, 2).reshape(len(images), -1)
        x = jnp.concatenate(ends, axis=-1)
    pool = x.mean((1, 2))
    logits = jnp.matmul(pool, params["fc"]["kernel"])
    out["pool"] = pool
    out["probs_no_bias"] = jax.nn.softmax(logits)
    out["probs"] = jax.nn.softmax(logits + params["fc"]["bias"][None])
    return {name: out[name] for name in outputs}


# The names of the official TorchScript archive; blocks and layers follow TensorFlow's graph.
_OFFICIAL_STEM = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}
_OFFICIAL_LAYERS: dict[str, dict[str, str]] = {
    "a": {
        "conv": "branch1x1",
        "tower.conv": "branch5x5_1",
        "tower.conv_1": "branch5x5_2",
        "tower_1.conv": "branch3x3dbl_1",
        "tower_1.conv_1": "branch3x3dbl_2",
        "tower_1.conv_2": "branch3x3dbl_3",
        "tower_2.conv": "branch_pool",
    },
    "b": {
        "conv": "branch3x3",
        "tower.conv": "branch3x3dbl_1",
        "tower.conv_1": "branch3x3dbl_2",
        "tower.conv_2": "branch3x3dbl_3",
    },
    "c": {
        "conv": "branch1x1",
        "tower.conv": "branch7x7_1",
        "tower.conv_1": "branch7x7_2",
        "tower.conv_2": "branch7x7_3",
        "tower_1.conv": "branch7x7dbl_1",
        "tower_1.conv_1": "branch7x7dbl_2",
        "tower_1.conv_2": "branch7x7dbl_3",
        "tower_1.conv_3": "branch7x7dbl_4",
        "tower_1.conv_4": "branch7x7dbl_5",
        "tower_2.conv": "branch_pool",
    },
    "d": {
        "tower.conv": "branch3x3_1",
        "tower.conv_1": "branch3x3_2",
        "tower_1.conv": "branch7x7x3_1",
        "tower_1.conv_1": "branch7x7x3_2",
        "tower_1.conv_2": "branch7x7x3_3",
        "tower_1.conv_3": "branch7x7x3_4",
    },
    "e": {
        "conv": "branch1x1",
        "tower_conv": "branch3x3_1",
        "tower_mixed_conv": "branch3x3_2a",
        "tower_mixed_conv_1": "branch3x3_2b",
        "tower_1_conv": "branch3x3dbl_1",
        "tower_1_conv_1": "branch3x3dbl_2",
        "tower_1_mixed_conv": "branch3x3dbl_3a",
        "tower_1_mixed_conv_1": "branch3x3dbl_3b",
        "tower_2_conv": "branch_pool",
    },
}
_OFFICIAL_KINDS = "aaabccccdee"
_OFFICIAL_PARTS = {"weight": "conv.weight", "beta": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}


def official_names() -> dict[str, str]:
    """Return {layer of the official archive: layer here}, without the last one."""
    names = {f"layers.{official}": name for official, name in _OFFICIAL_STEM.items()}
    for index, (block, kind) in enumerate(zip(BLOCKS, _OFFICIAL_KINDS, strict=True)):
        prefix = "layers.mixed" + (f"_{index}" if index else "")
        names |= {f"{prefix}.{official}": f"{block}.{name}" for official, name in _OFFICIAL_LAYERS[kind].items()}
    return names


def canonical(tensors: Tensors) -> Tensors:
    """Return tensors of any known layout under the names of `shapes`; the official files have no batch-norm gain."""
    if "layers.conv.weight" not in tensors:
        return tensors
    out = {f"fc.{part}": tensors[f"output.{part}"] for part in ("weight", "bias") if f"output.{part}" in tensors}
    names = official_names()
    for full, value in tensors.items():
        layer, _, part = full.rpartition(".")
        if layer in names and part in _OFFICIAL_PARTS:
            out[f"{names[layer]}.{_OFFICIAL_PARTS[part]}"] = value
            if part == "beta":
                out[f"{names[layer]}.bn.weight"] = np.ones_like(value)
    return out


NETWORK = Network(shapes, canonical, convert, apply, lambda params: OUTPUTS)
