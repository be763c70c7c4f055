"""What the discriminator sees of an image: blurred at the start of training (as in StyleGAN3-R), then as it is."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from stylegan_jax.config import LossConfig
from stylegan_jax.train.objective import View, plain


def blur(image: jax.Array, sigma: jax.Array, max_sigma: float) -> jax.Array:
    """Blur with the taps 2^-(x / sigma)^2 at |x| <= floor(3 sigma), normalised; zeros outside the image.

    One product with a banded matrix per axis, because the taps move while the program stays.

    Args:
        image: float[n, h, w, c].
        sigma: float[], pixels, at most `max_sigma`; below 1/3 the image stays as it is.
        max_sigma: static bound of `sigma`.

    Returns:
        float[n, h, w, c].
    """
    reach = jnp.floor(3 * sigma)

    def taps(x: jax.Array) -> jax.Array:
        return jnp.where(jnp.abs(x) <= reach, jnp.exp2(-jnp.square(x / sigma)), 0)

    def filtered(image: jax.Array) -> jax.Array:
        total = taps(jnp.arange(-math.floor(3 * max_sigma), math.floor(3 * max_sigma) + 1)).sum()
        rows, columns = (jnp.arange(size) for size in image.shape[1:3])
        bands = [taps(x[:, None] - x[None]) / total for x in (rows, columns)]
        return jnp.einsum("yh,nhwc,xw->nyxc", bands[0], image, bands[1], precision="highest", optimize="optimal")

    return jax.lax.cond(reach > 0, filtered, plain, image)  # free once it has faded


def blur_sigma(loss: LossConfig, nimg: jax.Array) -> jax.Array:
    """Return float[], the blur in pixels once `nimg` images have been shown: falls linearly from its initial value."""
    return loss.blur_init_sigma * jnp.maximum(1 - nimg / (loss.blur_fade_kimg * 1000), 0)


def make_view(loss: LossConfig, nimg: jax.Array) -> View:
    """Return what happens to every image that enters the discriminator after `nimg` images have been shown."""
    if not loss.blur_init_sigma:
        return plain
    sigma = blur_sigma(loss, nimg)
    return lambda image: blur(image, sigma, loss.blur_init_sigma)
