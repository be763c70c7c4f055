"""DiffAugment (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training", §3.2 and App. A).

Each policy acts on every sample, with draws of its own. Here it acts with probability p, so that p = 1 is as published
and the ADA controller can adjust it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.base import rng
from stylegan_jax.config import ConfigError, DiffAugmentConfig, suggest

POLICIES = ("color", "translation", "cutout")
BRIGHTNESS, SATURATION, CONTRAST = (-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)
"""Ranges of the uniform draws of the policy 'color', in its order of execution."""


class Params(NamedTuple):
    """What is done to each sample; None where the policy is off.

    Attributes:
        brightness: float[n], added to all colours.
        saturation: float[n], factor of a pixel's distance from its grey.
        contrast: float[n], factor of a pixel's distance from the image's mean.
        shift: int32[n, 2], pixels (down, right).
        corner: int32[n, 2], first row and column that are blanked.
        extent: int32[n, 2], rows and columns that are blanked.
    """

    brightness: jax.Array | None = None
    saturation: jax.Array | None = None
    contrast: jax.Array | None = None
    shift: jax.Array | None = None
    corner: jax.Array | None = None
    extent: jax.Array | None = None


def policies(config: DiffAugmentConfig) -> tuple[str, ...]:
    """Return the names in `policy`, in the order of execution.

    Raises:
        ConfigError: one of them is not a policy.
    """
    chosen = [name.strip() for name in config.policy.split(",")]
    for name in chosen:
        if name not in POLICIES:
            raise ConfigError(
                f"config.augment.diffaugment.policy is {config.policy!r}; {name!r} is not a policy; "
                f"{suggest(name, POLICIES)}; separate several by commas"
            )
    return tuple(name for name in POLICIES if name in chosen)


def pixels(size: int, share: float) -> int:
    """Return a share of an image side in whole pixels, half rounded up."""
    return int(size * share + 0.5)


def draw(
    key: jax.Array, n: int, p: jax.Array | float, config: DiffAugmentConfig, image_shape: tuple[int, int, int]
) -> Params:
    """Draw what is done to n samples.

    Args:
        key: one key.
        n: samples.
        p: float[], probability of each policy per sample.
        config: policies and their sizes.
        image_shape: (h, w, c).
    """
    sides = image_shape[:2]
    out = Params()
    for policy in policies(config):
        values, gate = jax.random.split(rng.stream(key, f"diffaugment/{policy}"))
        active = jax.random.uniform(gate, (n,)) < p
        if policy == "color":
            neutral_and_ends = ((0.0, *BRIGHTNESS), (1.0, *SATURATION), (1.0, *CONTRAST))
            uniform = jax.random.uniform(values, (3, n))
            drawn = [
                jnp.where(active, low + (high - low) * u, neutral)
                for u, (neutral, low, high) in zip(uniform, neutral_and_ends, strict=True)
            ]
            out = out._replace(brightness=drawn[0], saturation=drawn[1], contrast=drawn[2])
        elif policy == "translation":
            most = jnp.asarray([[pixels(side, config.translation) for side in sides]])
            shift = jax.random.randint(values, (n, 2), -most, most + 1)
            out = out._replace(shift=jnp.where(active[:, None], shift, 0))
        else:
            lengths = [pixels(side, config.cutout) for side in sides]
            extent = jnp.asarray([lengths])
            centers = jnp.asarray([[side + 1 - length % 2 for side, length in zip(sides, lengths, strict=True)]])
            corner = jax.random.randint(values, (n, 2), 0, centers) - extent // 2
            out = out._replace(corner=corner, extent=jnp.where(active[:, None], extent, 0))
    return out


def apply(params: Params, images: jax.Array) -> jax.Array:
    """Change images float[n, h, w, c] as drawn; the first three channels are RGB, or one is grey."""
    if params.brightness is not None:
        images = _color(params, images)
    if params.shift is not None:
        images = _translate(params.shift, images)
    if params.corner is not None:
        assert params.extent is not None
        images = _cut(params.corner, params.extent, images)
    return images


def _cut(corner: jax.Array, extent: jax.Array, images: jax.Array) -> jax.Array:
    def inside(axis: int) -> jax.Array:
        at = jnp.arange(images.shape[axis + 1])[None] - corner[:, axis, None]
        return (at >= 0) & (at < extent[:, axis, None])

    blank = inside(0)[:, :, None] & inside(1)[:, None, :]
    return jnp.where(blank[..., None], 0, images)


def _color(params: Params, images: jax.Array) -> jax.Array:
    per_sample = lambda v: v.astype(images.dtype)[:, None, None, None]
    rgb, rest = images[..., :3], images[..., 3:]
    rgb = rgb + per_sample(params.brightness)
    grey = rgb.mean(-1, keepdims=True)
    rgb = grey + (rgb - grey) * per_sample(params.saturation)
    mean = rgb.mean((1, 2, 3), keepdims=True)
    rgb = mean + (rgb - mean) * per_sample(params.contrast)
    return jnp.concatenate([rgb, rest], -1)


def _translate(shift: jax.Array, images: jax.Array) -> jax.Array:
    """Move each image by whole pixels; zeros come in. One product with a matrix of zeros and ones per axis."""

    def mover(size: int, by: jax.Array) -> jax.Array:
        at = jnp.arange(size)
        return (at[None, :, None] - by[:, None, None] == at[None, None, :]).astype(images.dtype)

    highest = jax.lax.Precision.HIGHEST
    images = jnp.einsum("nij,njwc->niwc", mover(images.shape[1], shift[:, 0]), images, precision=highest)
    return jnp.einsum("nij,nhjc->nhic", mover(images.shape[2], shift[:, 1]), images, precision=highest)
