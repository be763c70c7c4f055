"""Losses on styles, which keep an encoder's styles in the region where edits work well (Tov et al. 2021, §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], jax.Array]
"""Styles float[m, w] -> logits float[m]."""


def reached(num_ws: int, stage: Any) -> jax.Array:
    """Return bool[l]: whether a progressive encoder has reached each style slot, 0 to `stage` (which may be traced)."""
    return jnp.arange(num_ws) <= stage


def style_adversarial(critic: Critic, ws: jax.Array, stage: Any) -> jax.Array:
    """Return the encoder's non-saturating loss against the latent discriminator (§4.1.2).

    Args:
        critic: the latent discriminator, which sees one style at a time.
        ws: float[n, l, w], the encoder's styles.
        stage: only slots 0 to `stage` count.

    Returns:
        float[n], the mean over those slots of softplus(-logit).
    """
    n, slots, _ = ws.shape
    values = jax.nn.softplus(-critic(ws.reshape(n * slots, -1))).reshape(n, slots)
    weights = reached(slots, stage).astype(ws.dtype)
    return values @ weights / weights.sum()


def delta_norms(ws: jax.Array, stage: Any) -> jax.Array:
    """Return the lengths of the offsets from the first style, summed over slots 1 to `stage` (§4.1.1).

    Lengths are not squared: we follow the published code rather than the paper's equation. The gradient of a zero
    offset is zero.

    Args:
        ws: float[n, l, w], styles.
        stage: the last slot that counts.

    Returns:
        float[n].
    """
    squared = jnp.sum(jnp.square(ws - ws[:, :1]), axis=2)
    is_moved = (squared > 0) & reached(ws.shape[1], stage)[None]
    return jnp.where(is_moved, jnp.sqrt(jnp.where(is_moved, squared, 1)), 0).sum(axis=1)


def style_r1(critic: Critic, w: jax.Array) -> jax.Array:
    """Return float[n], half the squared gradient of the latent discriminator at real styles w float[n, w]."""
    return 0.5 * jnp.sum(jnp.square(jax.grad(lambda x: critic(x).sum())(w)), axis=1)
