"""The strength of the augmentation or of APA: fixed, or adjusted by how well the discriminator knows reals (ADA §3.3).

The heuristic is r_t = mean(sign(D(real))): 0 when the discriminator cannot tell a real from a fake, 1 when it overfits.
Every `interval` iterations p changes by a constant step: up if r_t is above the target, down if it is below.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import ApaConfig, AugmentConfig

STEERED = ("ada", "apa")
"""Modes in which p changes."""


class Control(NamedTuple):
    """State of the controller, part of the training state.

    Attributes:
        p: float32[], strength of the augmentation.
        sign_sum: float32[], sum of sign(D(real)) since p last moved.
        count: float32[], logits in that sum.
    """

    p: jax.Array
    sign_sum: jax.Array
    count: jax.Array


def init(config: AugmentConfig | ApaConfig) -> Control:
    """Return the state at the start of training; p is `config.p`, or 0 in mode 'none'."""
    p = 0.0 if config.mode == "none" else config.p
    return Control(*(jnp.asarray(x, jnp.float32) for x in (p, 0.0, 0.0)))


def observe(control: Control, logits: jax.Array, pseudo: jax.Array | None = None) -> Control:
    """Add the discriminator's logits of augmented reals, float[n, k], to the statistic.

    Rows in which a fake replaced a real, according to `pseudo` bool[n], are not counted.
    """
    signs = jnp.sign(jax.lax.stop_gradient(logits)).astype(jnp.float32)
    if pseudo is None:
        return control._replace(sign_sum=control.sign_sum + signs.sum(), count=control.count + float(logits.size))
    is_real = 1 - pseudo.astype(jnp.float32)
    sign_sum = control.sign_sum + jnp.sum(signs * is_real[:, None])
    return control._replace(sign_sum=sign_sum, count=control.count + is_real.sum() * logits.shape[1])


def adjust(
    p: jax.Array, sign_sum: jax.Array, count: jax.Array, *, target: float, step: float, p_max: float
) -> jax.Array:
    """Return p after one move.

    Args:
        p: float[].
        sign_sum: float[], sum of sign(D(real)) over some images.
        count: float[], their number; 0 leaves p unchanged.
        target: of r_t = sign_sum / count, 0.6 in the paper.
        step: how far p moves: images shown between two moves / images to go from 0 to 1.
        p_max: ceiling; the official code has none.
    """
    low, high = _neighbours(target, sign_sum.dtype)
    direction = (sign_sum > low * count).astype(p.dtype) - (sign_sum < high * count).astype(p.dtype)
    return jnp.where(count > 0, jnp.clip(p + direction * step, 0, p_max), p)


def _neighbours(value: float, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest numbers of a dtype at or below and at or above a value.

    A mean that is the target rounded up is above the target; compared with the rounded target it would equal it.
    """
    near = np.asarray(value, dtype)
    down, up = np.nextafter(near, -np.inf, dtype=dtype), np.nextafter(near, np.inf, dtype=dtype)
    return (near if float(near) <= value else down), (near if float(near) >= value else up)


def update(config: AugmentConfig | ApaConfig, control: Control, step: jax.Array | int, batch_size: int) -> Control:
    """Move p when it is due, at the end of an iteration; call it once per iteration.

    Args:
        config: mode, target, interval, kimg and p_max.
        control: the state, with this iteration's logits observed.
        step: int32[], iterations done, this one included.
        batch_size: images per iteration.
    """
    if config.mode not in STEERED:
        return control._replace(sign_sum=jnp.zeros_like(control.sign_sum), count=jnp.zeros_like(control.count))
    size = batch_size * config.interval / (config.kimg * 1000)
    moved = adjust(*control, target=config.target, step=size, p_max=config.p_max)
    fresh = Control(moved, jnp.zeros_like(control.sign_sum), jnp.zeros_like(control.count))
    due = jnp.asarray(step) % config.interval == 0
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), fresh, control)
