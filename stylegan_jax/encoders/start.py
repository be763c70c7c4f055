"""Pretrained weights for an encoder's body, from the file of a network that was trained for something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.base.spec import Variables
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config.encoder import PUBLISHED, EncoderConfig
from stylegan_jax.encoders import resnet
from stylegan_jax.encoders.bodies import lite0_name
from stylegan_jax.encoders.encoder import Encoder
from stylegan_jax.features import efficientnet, irse, weights
from stylegan_jax.features.network import FeatureError, Tensors

FILES = {"ir_se50": "ir_se50", "resnet34": "resnet34", "efficientnet_lite0": "efficientnet_lite0"}
"""Body -> the name in `features.weights.SOURCES` of the file that it starts from."""


def load_start(config: EncoderConfig, encoder: Encoder) -> Variables:
    """Read the weights that `config.weights` names, for `Encoder.init`; {} if the body starts from random weights.

    If the encoder sees more channels than the file's network (ReStyle), the additional ones stay random.

    Raises:
        ConfigError: there is no such file, or it does not fit the body.
    """
    if not config.weights:
        return {}
    if config.body not in FILES:
        raise ConfigError(
            f"config.encoder.weights is {config.weights!r}, and body {config.body!r} has no published file; use body "
            f"{' or '.join(FILES)}, or weights=''"
        )
    try:
        path = None if config.weights == PUBLISHED else config.weights
        tensors, source = weights.read_weights(FILES[config.body], path)
    except FeatureError as error:
        raise ConfigError(f"config.encoder.weights is {config.weights!r}: {error}") from None
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    name_of = NAMES[config.body]
    try:
        return {kind: {"body": _fitted(shapes[kind]["body"], tensors, name_of)} for kind in ("params", "batch_stats")}
    except FeatureError as error:
        raise ConfigError(f"config.encoder.weights is {config.weights!r}, read from {source}: {error}") from None


def _fitted(shapes: Mapping[str, Any], tensors: Tensors, name_of: Callable[[tuple[str, ...]], str]) -> Variables:
    """Return the arrays of a body from tensors of PyTorch."""
    out = {}
    for path, leaf in flatten(shapes).items():
        name = name_of(tuple(path.split("/")))
        if not name:
            continue
        if name not in tensors:
            raise FeatureError(f"lacks the tensor {name!r}; it has {', '.join(list(tensors)[:3]) or 'none'} …")
        value = np.float32(irse.rearranged(tensors[name], len(leaf.shape)))
        if value.ndim == 4 and value.shape[2] == 3 and leaf.shape[2] in (1, 2):
            value = value.sum(axis=2, keepdims=True)  # grey counts as three equal colours
        wanted = list(leaf.shape)
        if value.ndim == 4:  # only the first channels, if the encoder sees more
            wanted[2] = min(wanted[2], value.shape[2])
        if list(value.shape) != wanted:
            raise FeatureError(f"tensor {name!r} has the shape {value.shape} in our layout; the encoder needs {wanted}")
        out[path] = value
    return unflatten(out)


def lite0_tensor(path: tuple[str, ...]) -> str:
    """Return the published name of an array of EfficientNet-Lite0, by its path in the body."""
    layer, part, *rest = path
    conv, norm = {lite0_name(conv): (conv, norm) for conv, norm, _ in efficientnet.plan()}[layer]
    return f"{conv}.weight" if part == "conv" else ".".join([norm, *(irse.STATS.get(leaf, leaf) for leaf in rest)])


NAMES = {"ir_se50": irse.tensor_name, "resnet34": resnet.torchvision_name, "efficientnet_lite0": lite0_tensor}
"""Body -> the name of an array in that file, by its path; '' if the file lacks it and it stays random."""
