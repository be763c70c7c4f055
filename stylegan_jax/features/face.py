"""The face descriptor of face-api: dlib's residual network of 29 layers, 150x150 to 128 numbers (King 2017; MIT).

Two photographs of one person should be closer than 0.6. Images should show one face, cropped and upright; the
smaller side is padded with zeros to a square, as face-api does.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers
from stylegan_jax.features.network import FeatureError, Network, Params, Tensors, check, full_precision

SIZE, LENGTH, FIRST = 150, 128, "conv32_down"
MEAN = (122.782, 117.001, 104.298)
BLOCKS = {  # name -> channels; 'down' halves the size
    **{"conv32_1": 32, "conv32_2": 32, "conv32_3": 32},
    **{"conv64_down": 64, "conv64_1": 64, "conv64_2": 64, "conv64_3": 64},
    **{"conv128_down": 128, "conv128_1": 128, "conv128_2": 128},
    **{"conv256_down": 256, "conv256_1": 256, "conv256_2": 256, "conv256_down_out": 256},
}


def _convs() -> dict[str, tuple[int, ...]]:
    """Return {convolution: kernel shape in HWIO}."""
    out, width = {FIRST: (7, 7, 3, 32)}, 32
    for name, channels in BLOCKS.items():
        out[f"{name}/conv1"], out[f"{name}/conv2"] = (3, 3, width, channels), (3, 3, channels, channels)
        width = channels
    return out


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of the weights file."""
    out = {}
    for name, kernel in _convs().items():
        out |= {f"{name}/conv/filters": kernel}
        out |= {f"{name}/{part}": kernel[-1:] for part in ("conv/bias", "scale/weights", "scale/biases")}
    return out | {"fc": (256, LENGTH)}


def convert(tensors: Tensors) -> Params:
    """Return the parameters from tensors as in `shapes`; the scales after the convolutions are folded in."""
    check(tensors, shapes())
    params = {}
    for name in _convs():
        scale = np.float64(tensors[f"{name}/scale/weights"])
        kernel = tensors[f"{name}/conv/filters"] * scale
        bias = tensors[f"{name}/conv/bias"] * scale + tensors[f"{name}/scale/biases"]
        params[name] = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return params | {"fc": {"kernel": np.float32(tensors["fc"])}}


def read_manifest(manifest: BinaryIO, data: BinaryIO) -> dict[str, np.ndarray]:
    """Read a TensorFlow.js weights file: float32, or uint8 that stand for q * scale + min.

    Args:
        manifest: the JSON that lists names, shapes and quantisation.
        data: the tensors one after another.

    Raises:
        FeatureError: the manifest is of another kind, or the data is shorter or longer than it states.
    """
    try:
        entries = [entry for group in json.loads(manifest.read()) for entry in group["weights"]]
        raw, at, out = data.read(), 0, {}
        for entry in entries:
            value, at = _entry(entry, raw, at)
            out[str(entry["name"])] = value
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FeatureError(f"the manifest or its weights are damaged ({type(error).__name__}: {error})"[:300]) from None
    if at != len(raw):
        raise FeatureError(f"the weights have {len(raw)} bytes where the manifest lists {at}")
    return out


def _entry(entry: dict[str, Any], raw: bytes, at: int) -> tuple[np.ndarray, int]:
    """Return the tensor that a manifest entry describes, and where the next begins."""
    rule, shape = entry.get("quantization"), tuple(int(size) for size in entry["shape"])
    dtype = np.dtype({"uint8": "u1", "float32": "<f4"}[rule["dtype"] if rule else entry["dtype"]])
    value = np.frombuffer(raw, dtype, math.prod(shape), at).reshape(shape)
    end = at + value.nbytes
    return (value * np.float32(rule["scale"]) + np.float32(rule["min"]) if rule else value), end


def _square(x: jax.Array) -> jax.Array:
    rows, columns = (max(x.shape[1:3]) - size for size in x.shape[1:3])
    pads = [(gap - (gap + 1) // 2, (gap + 1) // 2) for gap in (rows, columns)]
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _residual(x: jax.Array, params: Params, name: str) -> jax.Array:
    """Add two convolutions to their input."""
    y = jax.nn.relu(layers.conv(x, params[f"{name}/conv1"]))
    return jax.nn.relu(x + layers.conv(y, params[f"{name}/conv2"]))


def _residual_down(x: jax.Array, params: Params, name: str) -> jax.Array:
    """Add two convolutions with stride 2 to the mean of 2x2 pixels; zeros fill up rows, columns and channels."""
    y = jax.nn.relu(layers.conv(x, params[f"{name}/conv1"], stride=2, padding=layers.NO_PADS))
    y = layers.conv(y, params[f"{name}/conv2"])
    n, height, width, channels = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    x = x[:, : 2 * height, : 2 * width].reshape(n, height, 2, width, 2, channels).mean((2, 4))
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[3] - channels)))
    y = jnp.pad(y, ((0, 0), (0, height - y.shape[1]), (0, width - y.shape[2]), (0, 0)))
    return jax.nn.relu(x + y)


@full_precision
def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run the network.

    Args:
        params: of `convert`.
        images: float[n, h, w, 3] in [0, 255], any size, one face each.
        outputs: ('embedding',), float32[n, 128]; not normalised, its length is near one.

    Returns:
        {output: float32[n, k]}.
    """
    x = layers.resize(_square(images.astype(jnp.float32)), (SIZE, SIZE))
    x = layers.normalise(x, MEAN, [255] * 3)
    x = jax.nn.relu(layers.conv(x, params[FIRST], stride=2, padding=layers.NO_PADS))
    x = layers.max_pool(x, 3, 2)
    for name in BLOCKS:
        x = (_residual_down if "down" in name else _residual)(x, params, name)
    out = {"embedding": jnp.matmul(x.mean((1, 2)), params["fc"]["kernel"])}
    return {name: out[name] for name in outputs}


NETWORK = Network(shapes, lambda tensors: tensors, convert, apply, lambda params: {"embedding": LENGTH})
