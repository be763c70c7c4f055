"""Classifiers whose feature maps a projected discriminator sees, and whose classes can guide a generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import deit, efficientnet, layers
from stylegan_jax.features.network import Params

SIZE = 224
"""Height and width at which all of them were trained."""
HALVES = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(NamedTuple):
    """A frozen classifier as a source of feature maps. Functions are pure.

    Attributes:
        stages: (params, x float[n, h, w, 3] normalised) -> four maps, from fine to coarse.
        classify: (params, x) -> logits float[n, classes].
        channels: of the four maps.
        mean: mean of images in [0, 1], per colour.
        std: their standard deviation.
        reads_out: all maps have one size, as those of a transformer, and need convolutions to make a pyramid of them.
        classes: number of classes.
    """

    stages: Callable[[Params, jax.Array], list[jax.Array]]
    classify: Callable[[Params, jax.Array], jax.Array]
    channels: tuple[int, ...]
    mean: tuple[float, ...] = HALVES
    std: tuple[float, ...] = HALVES
    reads_out: bool = False
    classes: int = 1000


def _deit(name: str) -> Backbone:
    width = deit.WIDTHS[name]
    return Backbone(deit.stages, deit.classify, (width,) * 4, *IMAGENET, reads_out=True)


BACKBONES: dict[str, Backbone] = {
    "efficientnet_lite0": Backbone(efficientnet.stages, efficientnet.classify, efficientnet.TAP_CHANNELS),
    "deit_base": _deit("deit_base"),
    "deit_small": _deit("deit_small"),
}
"""Names are those of `FEATURES`, which has their weights."""


def prepare(backbone: Backbone, image: jax.Array, size: int | None) -> jax.Array:
    """Return images as a backbone reads them.

    Args:
        backbone: provides mean and standard deviation.
        image: float[n, h, w, c] in [-1, 1]; one channel counts as grey.
        size: height and width to resize to, bilinearly and without smoothing; None: unchanged.

    Returns:
        float[n, h', w', 3], normalised.
    """
    x = jnp.broadcast_to(image, (*image.shape[:3], 3))
    mean, std = (np.asarray(v).reshape(1, 1, 1, 3) for v in (backbone.mean, backbone.std))
    x = x * (0.5 / std).astype(x.dtype) + ((0.5 - mean) / std).astype(x.dtype)
    return x if size is None else layers.resize_centred(x, (size, size))
