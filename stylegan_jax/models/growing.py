"""The common parts of networks that grow (PG §2): the fade between two levels, the generator, the bundle."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict

from stylegan_jax.config import ModelConfig
from stylegan_jax.models.gan import Gan, GanSpec, check_noise, draw_z, shown
from stylegan_jax.ops import fir

Alpha = jax.Array | float | None
_BOX = fir.setup_filter((1, 1), separable=True)


def double(image: jax.Array) -> jax.Array:
    """Repeat every pixel in both directions: float[n, h, w, c] to float[n, 2h, 2w, c]."""
    return fir.upsample2d(image, _BOX)


def halve(image: jax.Array) -> jax.Array:
    """Average 2x2 pixels: float[n, h, w, c] to float[n, h/2, w/2, c]."""
    return fir.downsample2d(image, _BOX)


def fade(low: jax.Array, high: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """Return exactly low at alpha = 0, exactly high at 1, and a blend in between."""
    alpha = jnp.asarray(alpha).astype(high.dtype)
    return low.astype(high.dtype) * (1 - alpha) + high * alpha


def fade_image(image: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """Blend images float[n, h, w, c] with their own versions at half the resolution (PG fig. 2)."""
    return fade(double(halve(image)), image, alpha)


def heights(config: ModelConfig) -> list[int]:
    """Return the image heights through which a model grows, the base height first."""
    return [config.base_size[0] * 2**i for i in range(config.num_blocks)]


def rgb_resolutions(config: ModelConfig, blocks: int, is_fading: bool, is_new: bool) -> list[int]:
    """Return the nominal resolutions whose RGB layer is used: the last, the one below it in a fade, all for
    initialisation."""
    last = 4 * 2 ** (blocks - 1)
    if config.grows and is_new:
        return [4 * 2**i for i in range(blocks)]
    return [last // 2, last] if is_fading else [last]


def fades(config: ModelConfig, blocks: int, alpha: Alpha, is_new: bool) -> dict[int, jax.Array | float]:
    """Return how far the blocks above each of the discriminator's lower blocks are faded in, by nominal resolution."""
    used = rgb_resolutions(config, blocks, alpha is not None, is_new)[:-1]
    return dict.fromkeys(used, 1.0 if alpha is None else alpha)


class Generator(nn.Module):
    """Mapping and synthesis networks under one tree; an architecture's `setup` creates `mapping` and `synthesis`."""

    config: ModelConfig

    def map_latents(self, z: jax.Array, cond: jax.Array, slots: int) -> jax.Array:
        """Map z float[n, z] and cond float[n, k] to ws float[n, slots, w]."""
        w = self.mapping(z, cond)
        return jnp.broadcast_to(w[:, None], (w.shape[0], slots, w.shape[1]))

    def synthesize(
        self, ws: jax.Array, noise: str = "const", key: jax.Array | None = None, blocks: int = 0, alpha: Alpha = None
    ) -> jax.Array:
        """Map ws float[n, l, w] to images float32[n, h, w, c], after this many blocks (0: all)."""
        check_noise(noise)
        return self.synthesis(ws, noise, key, blocks or self.config.num_blocks, alpha)

    def __call__(self, z: jax.Array, cond: jax.Array, slots: int) -> jax.Array:
        """Map latents to images, for initialisation."""
        return self.synthesize(self.map_latents(z, cond, slots))


def make_gan(config: ModelConfig, spec: GanSpec, generator: Generator, discriminator: nn.Module) -> Gan:
    """Return the bundle of two networks of blocks, two style slots each.

    Args:
        config: the model; `config.grows` says whether the networks have an RGB layer at every resolution.
        spec: its facts.
        generator: of that architecture.
        discriminator: linen module of (image, cond, blocks, alpha).
    """

    def init_g(key, frozen=()):
        return dict(generator.init(key, jnp.zeros((1, spec.z_dim)), jnp.zeros((1, spec.label_dim)), spec.num_ws))

    def init_d(key, frozen=()):
        return dict(discriminator.init(key, jnp.zeros((1, *spec.image_shape)), jnp.zeros((1, spec.label_dim))))

    def make(blocks: int, alpha: Alpha) -> Gan:
        here = _level_spec(spec, config, blocks)

        def map_latents(g, inputs, cond, *, train=False) -> Any:
            return generator.apply(g, inputs["z"], cond, here.num_ws, method="map_latents")

        def synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None) -> Any:
            return {"image": generator.apply(g, ws, noise, key, blocks, alpha, method="synthesize")}, {}

        def discriminate(d, frozen, sample, cond, *, key=None, train=False) -> Any:
            return discriminator.apply(d, sample["image"], cond, blocks, alpha), {}

        def features(g, ws, inputs, *, noise="const") -> Any:
            image, seen = generator.apply(
                g, ws, noise, None, blocks, alpha, method="synthesize", mutable=["intermediates"]
            )
            return {"image": image}, shown(seen)

        more: Any = {"grown": grown if config.grows else None, "features": features}
        return Gan(here, init_g, init_d, draw_z(here), map_latents, synthesize, discriminate, **more)

    def grown(height: int, alpha: Alpha = None) -> Gan:
        known = heights(config)
        if height not in known:
            raise ValueError(f"height is {height}; this model grows through {known}")
        if height == known[0] and alpha is not None:
            raise ValueError(f"height is {height}, the first; there is nothing below it to fade from")
        if alpha is None or isinstance(alpha, float):
            return cached(known.index(height) + 1, alpha)
        return make(known.index(height) + 1, alpha)

    cached = functools.lru_cache(maxsize=64)(make)  # one bundle per level: programs are cached by their bundle
    return cached(config.num_blocks, None)


def _level_spec(spec: GanSpec, config: ModelConfig, blocks: int) -> GanSpec:
    h, w, c = spec.image_shape
    factor = 2 ** (config.num_blocks - blocks)
    num_ws = min(spec.num_ws, 2 * blocks)  # one in all, where there are no styles
    slots = tuple(4 * 2 ** (i // 2) for i in range(num_ws))
    return spec._replace(num_ws=num_ws, slots=slots, sample=FrozenDict({"image": (h // factor, w // factor, c)}))
