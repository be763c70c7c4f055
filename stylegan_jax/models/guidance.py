"""Guidance: the generator also minimises the loss of a frozen classifier on its images (StyleGAN-XL §3.3)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Sample, Tree
from stylegan_jax.config import ConfigError, suggest
from stylegan_jax.features.backbones import BACKBONES, SIZE, Backbone, prepare
from stylegan_jax.models.gan import Gan


def guided(gan: Gan, name: str, weight: float, classifiers: Mapping[str, Backbone] = BACKBONES) -> Gan:
    """Return a bundle whose generator is guided: `guide` is the cross entropy of a fake's class, times `weight`.

    The classifier sees the generator's images at the size on which it was trained, neither blurred nor augmented.
    Labels are its first classes, in its order.

    Args:
        gan: the bundle; guidance that it already has is kept.
        name: the classifier's name in `classifiers`.
        weight: weight of the cross entropy, which is in nats.
        classifiers: the frozen networks by name.

    Raises:
        ConfigError: an unknown classifier, a model without labels, or more labels than classes.
    """
    if name not in classifiers:
        raise ConfigError(f"config.loss.guidance is {name!r}; {suggest(name, classifiers)}")
    classifier, k, before = classifiers[name], gan.spec.label_dim, gan.guide
    if not 0 < k <= classifier.classes:
        raise ConfigError(
            f"config.loss.guidance_weight is {weight} and labels have length {k}; guidance by {name!r} needs labels "
            f"that are its classes, 1 to {classifier.classes} of them in its order: set data.labels, or use "
            "guidance_weight=0"
        )

    def guide(frozen: Mapping[str, Tree], sample: Sample, cond: jax.Array) -> jax.Array:
        logits = classifier.classify(frozen[name], prepare(classifier, sample["image"], SIZE))
        entropy = -jnp.sum(jax.nn.log_softmax(logits)[:, :k] * cond, axis=1)
        return weight * entropy + (before(frozen, sample, cond) if before else 0)

    spec = gan.spec._replace(frozen=tuple(dict.fromkeys((*gan.spec.frozen, name))))
    return gan._replace(spec=spec, guide=guide)
