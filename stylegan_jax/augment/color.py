"""Colour operations as one 3x4 matrix per sample on (r, g, b, 1) (ADA App. B)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.augment.affine import Gate, combine
from stylegan_jax.config import AugmentStrength

LUMA = np.full([3], 1 / np.sqrt(3))  # the grey axis
ALONG = np.outer(LUMA, LUMA)  # projection on it
ACROSS = np.eye(3) - ALONG
CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # v -> luma x v


def matrix(units: dict[str, Any], gated: Gate, strength: AugmentStrength) -> jax.Array:
    """Return float[n, 3, 4], the product of all colour operations that are on, the first one rightmost.

    Args:
        units: unit draws by operation (`draws.Unit`).
        gated: (operation, value, neutral value) -> the value where the operation acts.
        strength: standard deviations and ranges.
    """
    like = next(units[op].gate for op in ("brightness", "contrast", "lumaflip", "hue", "saturation") if op in units)
    n, dtype = like.shape[0], like.dtype
    total = jnp.broadcast_to(jnp.eye(3, 4, dtype=dtype), (n, 3, 4))
    after = lambda m: jnp.matmul(m, total, precision=jax.lax.Precision.HIGHEST)
    if "brightness" in units:
        shift = gated("brightness", units["brightness"].value * strength.brightness_std, 0.0)
        total = total.at[:, :, 3].add(shift[:, None])
    if "contrast" in units:
        total = total * gated("contrast", jnp.exp2(units["contrast"].value * strength.contrast_std), 1.0)[:, None, None]
    if "lumaflip" in units:  # mirrored at the plane across the grey axis
        flip = gated("lumaflip", jnp.floor(2 * units["lumaflip"].value), 0.0)
        total = after(combine([1 - 2 * flip, jnp.ones_like(flip)], [ALONG, ACROSS]))
    if "hue" in units:  # turned around the grey axis (Rodrigues)
        theta = gated("hue", (2 * units["hue"].value - 1) * (np.pi * strength.hue_max), 0.0)
        total = after(combine([jnp.ones_like(theta), jnp.cos(theta), jnp.sin(theta)], [ALONG, ACROSS, CROSS]))
    if "saturation" in units:
        s = gated("saturation", jnp.exp2(units["saturation"].value * strength.saturation_std), 1.0)
        total = after(combine([jnp.ones_like(s), s], [ALONG, ACROSS]))
    return total


def transform(images: jax.Array, colors: jax.Array) -> jax.Array:
    """Apply colour matrices float[n, 3, 4] to images float[n, h, w, c].

    The first three channels are RGB, further ones pass. One channel counts as a grey RGB image whose three results are
    averaged.
    """
    if images.shape[-1] == 1:
        mean = colors.mean(axis=1)[:, None, None, :]
        return images * mean[..., :3].sum(-1, keepdims=True) + mean[..., 3:]
    columns = jnp.moveaxis(colors, 2, 0)[:, :, None, None, :]  # [4, n, 1, 1, 3]
    rgb = columns[3] + sum(images[..., j : j + 1] * columns[j] for j in range(3))
    return jnp.concatenate([rgb, images[..., 3:]], -1)
