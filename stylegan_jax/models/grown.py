"""The model at a level of a run that grows: its layers, and how far the newest are faded in (PG §2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from stylegan_jax.config import ExperimentConfig, Level, images_shown, level_at, levels
from stylegan_jax.models.gan import Gan
from stylegan_jax.models.growing import fade_image


def alpha(level: Level, nimg: jax.Array | int) -> jax.Array:
    """Return float[] in [0, 1], how far a level is faded in once `nimg` images have been shown."""
    return jnp.clip((nimg - level.fade_start) / level.fade_length, 0, 1).astype(jnp.float32)


def plain(gan: Gan, level: Level) -> Gan:
    """Return the bundle of a level, fully faded in."""
    return gan.grown(level.height) if gan.grown else gan


def fade_at(level: Level, nimg: jax.Array | int) -> jax.Array | None:
    """Return `alpha` once `nimg` images have been shown, traced or not; None for a level without a fade."""
    return alpha(level, nimg) if level.fade_length else None


def faded(gan: Gan, level: Level, fade: jax.Array | float | None) -> Gan:
    """Return the bundle of a level whose newest layers are faded in as far as `fade` says; None: fully."""
    return plain(gan, level) if fade is None or not gan.grown else gan.grown(level.height, fade)


def fade_reals(image: jax.Array, fade: jax.Array | None) -> jax.Array:
    """Fade reals float[n, h, w, c] as the generator fades its images; None: leave them unchanged."""
    return image if fade is None else fade_image(image, fade)


def after(gan: Gan, config: ExperimentConfig, step: int) -> Gan:
    """Return the bundle of a run's checkpoint at a step; equal calls return the same object."""
    level = levels(config)[level_at(config, step - 1)]
    fade = fade_at(level, images_shown(config, step))
    return faded(gan, level, None if fade is None else float(fade))
