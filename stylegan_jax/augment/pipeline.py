"""From the configuration to one augmentation: `draw` and `apply`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.augment import color, cutout, diffaugment, draws, pipes, spectrum, warp
from stylegan_jax.config import AugmentConfig, ConfigError


class Augment(NamedTuple):
    """A pair of pure functions; see `stylegan_jax.augment` for how to use them.

    Attributes:
        draw: (key, n, p) -> parameters of n samples, a tuple of arrays with n rows. n is static, p may be traced.
        apply: (parameters, images) -> images of the same shape and dtype. Images are float[n, h, w, c] or clips
            float[n, t, h, w, c], whose frames are all changed as drawn for their clip; additive noise has one strength
            per clip and, if drawn for clips, fresh values per frame.
    """

    draw: Callable[[jax.Array, int, jax.Array | float], Any]
    apply: Callable[[Any, jax.Array], jax.Array]

    def __call__(self, key: jax.Array, p: jax.Array | float, images: jax.Array) -> jax.Array:
        """Draw for each image and apply."""
        return self.apply(self.draw(key, images.shape[0], p), images)


def apply_ada(params: draws.Params, images: jax.Array, *, shards: int = 1) -> jax.Array:
    """Run the ADA operations on images float[n, h, w, c], in the published order."""
    if params.g_inv is not None:
        images = warp.warp(images, params.g_inv, shards=shards)
    if params.color is not None:
        images = color.transform(images, params.color)
    if params.gains is not None:
        images = spectrum.amplify(images, params.gains)
    if params.noise is not None:
        images = images + params.noise
    if params.cut_center is not None:
        assert params.cut_size is not None
        images = cutout.cut(images, params.cut_center, params.cut_size)
    return images


def framewise(apply: Callable[[Any, jax.Array], jax.Array]) -> Callable[[Any, jax.Array], jax.Array]:
    """Let a function of images float[n, h, w, c] also take clips float[n, t, h, w, c] and low-precision dtypes."""

    def both(params: Any, images: jax.Array) -> jax.Array:
        if images.ndim not in (4, 5):
            raise ValueError(f"images have shape {images.shape}; pass [n, h, w, c], or clips [n, t, h, w, c]")
        dtype = jnp.promote_types(images.dtype, jnp.float32)
        flat = images.reshape(-1, *images.shape[-3:]).astype(dtype)
        frames = images.shape[1] if images.ndim == 5 else 1

        def per_image(leaf: jax.Array) -> jax.Array:
            leaf = leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
            if leaf.ndim == 5:  # noise, which each frame has its own of
                return leaf.reshape(-1, *leaf.shape[2:])
            return jnp.repeat(leaf, frames, axis=0) if frames > 1 else leaf

        return apply(jax.tree.map(per_image, params), flat).reshape(images.shape).astype(images.dtype)

    return both


def make_augment(config: AugmentConfig, image_shape: tuple[int, ...], shards: int = 1) -> Augment:
    """Build the augmentation of a configuration; it does not depend on `config.p` or the controller's keys.

    Args:
        config: the group `config.augment`. In mode 'none' images are unchanged and nothing is drawn.
        image_shape: (h, w, c) of an image, or (t, h, w, c) of a clip.
        shards: devices that axis 0 of the images is split over; results do not depend on it.

    Raises:
        ConfigError: no operation is on, or one changes the colours of two-channel images.
    """
    if config.mode == "none":
        return Augment(lambda key, n, p: (), lambda params, images: images)
    frame_shape: Any = tuple(image_shape[-3:])
    if config.method == "diffaugment":
        if image_shape[-1] == 2 and "color" in diffaugment.policies(config.diffaugment):
            raise ConfigError(pipes.two_channels(["policy 'color'"], "diffaugment.policy='translation,cutout'"))
        of = lambda key, n, p: diffaugment.draw(key, n, p, config.diffaugment, frame_shape)
        return Augment(of, framewise(diffaugment.apply))
    ops = pipes.multipliers(config, image_shape[-1])

    def draw(key: jax.Array, n: int, p: jax.Array | float) -> draws.Params:
        units, pixels = draws.draw_units(key, n, ops, image_shape)
        return draws.to_params(units, pixels, p, ops, config.strength, frame_shape)

    return Augment(draw, framewise(lambda params, images: apply_ada(params, images, shards=shards)))
