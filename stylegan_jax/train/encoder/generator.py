"""The frozen generator that an encoder inverts."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from stylegan_jax.base.spec import Tree
from stylegan_jax.base.trees import digest_of
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.models import Gan
from stylegan_jax.sampling.load import load_model
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train.task import Frozen

SAMPLES, SEED = 10_000, 123


class Facts(NamedTuple):
    """Statistics of W, estimated from `SAMPLES` styles.

    Attributes:
        mean: float32[w].
        spread: root mean squared distance from the mean.
        edits: float32[2, w], the first two principal directions, each as long as the standard deviation along it
            (GANSpace).
    """

    mean: np.ndarray
    spread: float
    edits: np.ndarray


def open_generator(config: ExperimentConfig) -> LoadedModel:
    """Load the generator of `config.encoder.model`.

    Raises:
        ConfigError: there is no model, or an encoder cannot invert it.
        BadCheckpointError, CheckpointError: as `load_model`.
    """
    path = config.encoder.model
    model = load_model(path)
    check_generator(model, path, config.encoder.kind)
    return model


def check_generator(model: LoadedModel, path: str, kind: str) -> None:
    """Check that an encoder of this kind can invert a generator.

    Raises:
        ConfigError: it generates clips, has no suitable style space, has labels that are not classes, or still grows.
    """
    spec = model.gan.spec
    if set(spec.inputs) != {"z"}:
        raise ConfigError(
            f"config.encoder.model={path} generates clips (arch {model.config.arch!r}), and encoders invert images; "
            "use a generator of images"
        )
    if spec.num_ws < 2 and kind != "w":
        raise ConfigError(
            f"config.encoder.model={path} has one style for all layers (arch {model.config.arch!r}), but "
            f"config.encoder.kind={kind!r} needs several (W+); use a StyleGAN, or kind 'w'"
        )
    if model.config.arch == "r3gan":
        raise ConfigError(
            f"config.encoder.model={path} has arch 'r3gan', which has no mapping network, hence no space W to encode "
            "to; use a StyleGAN, StyleGAN2, StyleGAN3 or StyleGAN-XL"
        )
    if model.label_kind in ("multi-hot", "vectors"):
        raise ConfigError(
            f"config.encoder.model={path} was trained with labels that are {model.label_kind}, but samples are drawn "
            "from uniformly random classes; use a generator with classes or without labels"
        )
    if not model.is_grown:
        raise ConfigError(f"config.encoder.model={path} is still growing; train it to its final height first")


def resolve(config: ExperimentConfig) -> ExperimentConfig:
    """Return the experiment with the generator's configuration as `model`.

    Raises:
        ConfigError, BadCheckpointError, CheckpointError: as `open_generator`.
    """
    return dataclasses.replace(config, model=open_generator(config).config)


def facts_of(model: LoadedModel) -> Facts:
    """Return statistics of W over samples with uniformly random classes."""
    spec, draw = model.gan.spec, np.random.RandomState(SEED)
    z = draw.randn(SAMPLES, spec.z_dim).astype(np.float32)
    label = draw.randint(spec.label_dim, size=SAMPLES) if spec.label_dim else None
    w = model.map(z, label, chunk=256)[:, 0].astype(np.float64)
    mean = w.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(w, rowvar=False))
    edits = vectors.T[::-1][:2] * np.sqrt(np.maximum(values[::-1][:2], 0))[:, None]
    return Facts(mean.astype(np.float32), float(np.sqrt(np.square(w - mean).sum() / SAMPLES)), edits.astype(np.float32))


def frozen_generator(model: LoadedModel) -> Frozen:
    """Return the generator in the form that the losses read (`objective.GENERATOR`)."""
    facts = facts_of(model)
    tree = {"g": model.g_ema, "w_avg": facts.mean, "spread": np.float32(facts.spread), "edits": facts.edits}
    return Frozen(tree, digest_of({"g": model.g_ema}, {}))


def frozen_shapes(model: LoadedModel) -> Tree:
    """Return the abstract arrays of `frozen_generator`, without drawing samples."""
    w, make = model.gan.spec.w_dim, lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)
    g = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model.g_ema)
    return {"g": g, "w_avg": make(w), "spread": make(), "edits": make(2, w)}


def image_shape(gan: Gan, size: tuple[int, int]) -> tuple[int, int, int]:
    """Return (h, w, c) at which images are read: the smaller of the encoder's size and the generator's.

    Raises:
        ConfigError: their aspect ratios differ.
    """
    h, w, c = gan.spec.image_shape
    if h * size[1] != w * size[0]:
        raise ConfigError(
            f"config.encoder.image_size is {size}, but the generator's images are {h}x{w} (h x w); use the same aspect "
            f"ratio, such as {(size[0], size[0] * w // h)}"
        )
    return (*(min(h, size[0]), min(w, size[1])), c)
