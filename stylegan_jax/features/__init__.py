"""Frozen feature networks through which metrics see images: one file each, and the dict that names them."""

from __future__ import annotations

import os

import jax
import numpy as np

from stylegan_jax.config import suggest
from stylegan_jax.features import deit, dinov2, efficientnet, elpips, face, i3d, identity, inception, vgg, weights
from stylegan_jax.features.network import FeatureError, FeatureNet, Network, Params, build, random_tensors

FEATURES: dict[str, Network] = {
    "inception": inception.NETWORK,
    "inception_random": inception.NETWORK,
    "vgg16": vgg.NETWORK,
    "vgg16_lpips": vgg.VGG16_LPIPS,
    "alexnet_lpips": vgg.ALEXNET_LPIPS,
    "efficientnet_lite0": efficientnet.NETWORK,
    "face": face.NETWORK,
    **identity.NETWORKS,
    "dinov2": dinov2.NETWORK,
    **deit.NETWORKS,
    "i3d": i3d.NETWORK,
}


def load_features(name: str, path: str | os.PathLike[str] | None = None) -> FeatureNet:
    """Load a feature network with published weights.

    Args:
        name: one of `FEATURES`, or 'elpips', which also needs the weights of 'vgg16_lpips'.
        path: its weights file, an archive or folder with it; None: the cache folder, then installed packages.

    Raises:
        FeatureError: the name is unknown, the weights are missing (the message says which file, from where, and where
            to put it), a known file has another checksum, or a file does not fit the network.
    """
    if name == "elpips":
        convolutions = load_features("vgg16_lpips")
        heads, source = weights.read_weights(name, path)
        return elpips.network(convolutions, heads, source)
    network = _network(name)
    tensors, source = weights.read_weights(name, path)
    try:
        return build(name, network, tensors, source)
    except ValueError as error:  # a FeatureError, or a tensor with another number of axes
        raise FeatureError(f"weights of {name!r} from {source}: {error}") from None


def random_features(name: str, seed: int) -> FeatureNet:
    """Return a feature network with seeded random weights (`network.random_tensors`), for tests and as a control."""
    network = _network(name)
    return build(name, network, random_tensors(network.shapes(), seed), f"random weights, seed {seed}")


def shapes_of(name: str) -> Params:
    """Return the abstract parameters of a feature network, whose weights need not be there.

    Raises:
        FeatureError: unknown name.
    """
    network = _network(name)
    params = network.convert({tensor: np.zeros(shape, np.float32) for tensor, shape in network.shapes().items()})
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)


def _network(name: str) -> Network:
    if name not in FEATURES:
        raise FeatureError(f"unknown feature network {name!r}; {suggest(name, FEATURES)}")
    return FEATURES[name]


__all__ = [
    "FEATURES",
    "FeatureError",
    "FeatureNet",
    "load_features",
    "random_features",
    "shapes_of",
]
