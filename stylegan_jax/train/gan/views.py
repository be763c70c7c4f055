"""Images as the discriminator sees them: blurred early in training (as in StyleGAN3-R), then augmented (ADA)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.augment import make_augment
from stylegan_jax.base import backend
from stylegan_jax.config import ExperimentConfig, LossConfig
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.task import Rates


def blur(image: jax.Array, sigma: jax.Array, max_sigma: float) -> jax.Array:
    """Blur with normalised taps 2^-(x / sigma)^2 for |x| <= floor(3 sigma); pixels outside the image count as zero.

    Each axis is a product with a banded matrix, because the number of taps changes while the program stays the same.

    Args:
        image: float[n, h, w, c].
        sigma: float[], in pixels, at most `max_sigma`; below 1/3 the image is unchanged.
        max_sigma: static bound of `sigma`.

    Returns:
        float[n, h, w, c].
    """
    sigma = backend.stored(sigma, sigma != -1)  # one value for all uses, so that taps and sum have the same reach
    reach = jnp.floor(3 * sigma)

    def taps(x: jax.Array) -> jax.Array:
        return jnp.where(jnp.abs(x) <= reach, jnp.exp2(-jnp.square(x / sigma)), 0)

    def filtered(image: jax.Array) -> jax.Array:
        total = taps(jnp.arange(-math.floor(3 * max_sigma), math.floor(3 * max_sigma) + 1)).sum()
        rows, columns = (jnp.arange(size) for size in image.shape[1:3])
        bands = [taps(x[:, None] - x[None]) / total for x in (rows, columns)]
        return jnp.einsum("yh,nhwc,xw->nyxc", bands[0], image, bands[1], precision="highest", optimize="optimal")

    return jax.lax.cond(reach > 0, filtered, lambda image: image, image)  # costs nothing once the blur has faded


def blur_sigma(loss: LossConfig, nimg: jax.Array) -> jax.Array:
    """Return float[], the blur in pixels after `nimg` images: it falls linearly to 0."""
    fade = loss.blur_fade_kimg * 1000
    return loss.blur_init_sigma * jnp.maximum(fade - nimg, 0) / fade  # 1 - nimg / fade would lose a tap to rounding


class Views:
    """What is done to every image before the discriminator sees it: blur, then augmentation.

    Args:
        config: the experiment.
        image_shape: (h, w, c), or (t, h, w, c) of clips.
        layout: spreads the draws over the devices.
    """

    def __init__(self, config: ExperimentConfig, image_shape: tuple[int, ...], layout: Layout):
        self._loss, self._layout = config.loss, layout
        self._augment = make_augment(config.augment, image_shape, layout.shards)

    def draw(self, key: jax.Array, n: int, strength: jax.Array) -> Any:
        """Draw the augmentation's random parameters for n images: a tree of rows."""
        return jax.tree.map(self._layout.split, self._augment.draw(key, n, strength))

    def apply(self, rates: Rates, drawn: Any, image: jax.Array) -> jax.Array:
        """Return images float[n, h, w, c], or clips float[n, t, h, w, c], as the discriminator sees them."""
        image = self._layout.spread(image)
        if self._loss.blur_init_sigma:
            flat = image.reshape(-1, *image.shape[-3:])  # frames are blurred one by one
            image = blur(flat, rates.blur_sigma, self._loss.blur_init_sigma).reshape(image.shape)
        return self._augment.apply(drawn, image)
