"""Perceptual path length (SG1 §4.1; SG2 App. A): how much an image changes per step of its latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import rng
from stylegan_jax.base.spec import Array, Variables
from stylegan_jax.models import Gan
from stylegan_jax.sampling.drawing import draw, map_styles

EPSILON = 1e-4
FULL_HEIGHT = 256
"""Taller images, or face regions, are reduced to about this height by averaging whole blocks."""


class PathKind(NamedTuple):
    """A variant of the metric.

    Attributes:
        space: 'w' (linear steps) or 'z' (along the great circle).
        full: take steps anywhere on the path between two latents, not only at its start.
        crop: compare the face region only, as for FFHQ.
    """

    space: str
    full: bool
    crop: bool


def slerp(a: Array, b: Array, t: Array) -> Array:
    """Return the points at shares t float[n, 1] of the great circles from a to b float[n, z], of length 1."""
    unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    a, b = unit(a), unit(b)
    cos = jnp.sum(a * b, axis=-1, keepdims=True)
    angle = t * jnp.arccos(cos)
    return unit(a * jnp.cos(angle) + unit(b - cos * a) * jnp.sin(angle))


def crop_face(image: Array) -> Array:
    """Return rows 3/8 to 7/8 and columns 2/8 to 6/8 of [n, h, w, c]."""
    h, w = image.shape[1] // 8, image.shape[2] // 8
    return image[:, h * 3 : h * 7, w * 2 : w * 6]


def shrink(image: Array, factor: int) -> Array:
    """Return [n, h / factor, w / factor, c], means of blocks."""
    n, h, w, c = image.shape
    return image.reshape(n, h // factor, factor, w // factor, factor, c).mean(axis=(2, 4))


def trimmed_mean(distances: np.ndarray) -> float:
    """Return the mean of values from the 1% to the 99% quantile, both of which are samples and are kept."""
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(np.mean(distances[(distances >= low) & (distances <= high)], dtype=np.float64))


def make_distances(gan: Gan, kind: PathKind, embed: Callable[[Any, jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """Return (variables, detector, keys [n], label float[n, k]) -> distances float[n], one pair of images per key.

    Args:
        gan: computes in float32.
        kind: the variant.
        embed: (detector, images float[n, h, w, 3] in [0, 255]) -> features float[n, d]; the square of their
            difference is LPIPS.

    Both ends of a pair share label and noise; fresh noise is drawn for each pair.
    """

    def distances(variables: Variables, detector: Any, keys: jax.Array, label: jax.Array) -> jax.Array:
        random = lambda name, sampler: jax.vmap(lambda key: sampler(rng.stream(key, name)))(keys)
        z0, z1 = (random(name, lambda k: jax.random.normal(k, (gan.spec.z_dim,))) for name in ("z0", "z1"))
        t = random("t", jax.random.uniform) * float(kind.full)
        twice = lambda x: jnp.concatenate([x, x])
        if kind.space == "w":
            w0, w1 = jnp.split(map_styles(gan, variables, None, jnp.concatenate([z0, z1]), twice(label)), 2)
            ws = jnp.concatenate([lerp(w0, w1, s[:, None, None]) for s in (t, t + EPSILON)])
        else:
            ends = jnp.concatenate([slerp(z0, z1, s[:, None]) for s in (t, t + EPSILON)])
            ws = map_styles(gan, variables, None, ends, twice(label))
        noise = twice(jax.vmap(lambda key: rng.stream(key, "noise"))(keys))
        image = draw(gan, variables, ws, noise="random", key=noise)
        a, b = jnp.split(embed(detector, prepare(image, kind.crop)), 2)
        return jnp.square(a - b).sum(axis=1) / EPSILON**2

    return distances


def lerp(a: Array, b: Array, t: Array) -> Array:
    """Return a + (b - a) t."""
    return a + (b - a) * t


def prepare(image: Array, crop: bool) -> Array:
    """Return the detector's input, float[n, h, w, 3] in [0, 255], from images [n, h, w, c] about in [-1, 1].

    The size after the crop determines the reduction, as in the code of SG1, SG2 and the TensorFlow ADA.
    """
    image = crop_face(image) if crop else image
    factor = image.shape[1] // FULL_HEIGHT
    image = to_255(shrink(image, factor) if factor > 1 else image)
    return jnp.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def to_255(image: Array) -> Array:
    """Map [-1, 1] to [0, 255]; nothing is rounded or clamped."""
    return (image + 1) * (255 / 2)
