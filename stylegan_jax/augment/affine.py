"""The pixel blits and geometric operations as one inverse matrix per sample (ADA App. B, Fig. 20).

Coordinates are pixels from the centre of the image, x to the right and y down. The inverse matrices of the operations
are multiplied from the right in the order of execution, so that the product maps an output pixel to its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import AugmentStrength

Gate = Callable[[str, jax.Array, float], jax.Array]


def combine(weights: list[jax.Array], bases: list[np.ndarray]) -> jax.Array:
    """Return the sum of constant matrices [i, j] with weights float[n] each: float[n, i, j]."""
    basis = jnp.asarray(np.stack(bases), weights[0].dtype)
    return jnp.sum(jnp.stack(weights, 1)[:, :, None, None] * basis[None], axis=1)


def _unit(*places: tuple[int, int]) -> np.ndarray:
    """Return [3, 3] with ones at (row, column)."""
    out = np.zeros([3, 3])
    out[tuple(zip(*places, strict=True))] = 1
    return out


def translation(t: jax.Array) -> jax.Array:
    """Return float[n, 3, 3] that adds t float[n, 2] to (x, y)."""
    return combine([jnp.ones_like(t[:, 0]), t[:, 0], t[:, 1]], [np.eye(3), _unit((0, 2)), _unit((1, 2))])


def scaling(sx: jax.Array, sy: jax.Array) -> jax.Array:
    """Return float[n, 3, 3] that multiplies x and y by float[n]."""
    return combine([jnp.ones_like(sx), sx, sy], [_unit((2, 2)), _unit((0, 0)), _unit((1, 1))])


def rotation(theta: jax.Array) -> jax.Array:
    """Return float[n, 3, 3] that turns by theta float[n], in radians, from the x axis towards the y axis."""
    turned = [_unit((0, 0), (1, 1)), _unit((1, 0)) - _unit((0, 1))]
    return combine([jnp.ones_like(theta), jnp.cos(theta), jnp.sin(theta)], [_unit((2, 2)), *turned])


def rotate_probability(p: jax.Array | float, multiplier: float) -> jax.Array:
    """Return the probability of each of two rotations, of which at least one then happens with multiplier * p."""
    return 1 - jnp.sqrt(1 - jnp.clip(multiplier * jnp.asarray(p), 0, 1))


def inverse(
    units: dict[str, Any],
    gated: Gate,
    p: jax.Array | float,
    ops: dict[str, float],
    strength: AugmentStrength,
    image_shape: tuple[int, int, int],
) -> jax.Array:
    """Return float[n, 3, 3], the combined inverse of all geometric operations that are on.

    Args:
        units: unit draws by operation (`draws.Unit`).
        gated: (operation, value, neutral value) -> the value where the operation acts.
        p: float[], overall strength.
        ops: {operation: multiplier of p}.
        strength: standard deviations and ranges.
        image_shape: (h, w, c).
    """
    size = jnp.asarray([[image_shape[1], image_shape[0]]])
    factors = []

    def turn(which: int) -> jax.Array:
        value, gate = units["rotate"].value[:, which], units["rotate"].gate[:, which]
        theta = (2 * value - 1) * (np.pi * strength.rotate_max)
        return rotation(jnp.where(gate < rotate_probability(p, ops["rotate"]), theta, 0.0))

    if "xflip" in ops:
        flip = gated("xflip", jnp.floor(2 * units["xflip"].value), 0.0)
        factors.append(scaling(1 - 2 * flip, jnp.ones_like(flip)))
    if "rotate90" in ops:
        quarters = gated("rotate90", jnp.floor(4 * units["rotate90"].value), 0.0)
        factors.append(rotation(quarters * (np.pi / 2)))
    if "xint" in ops:
        share = gated("xint", (2 * units["xint"].value - 1) * strength.xint_max, 0.0)
        factors.append(translation(-jnp.round(share * size)))
    if "scale" in ops:
        s = gated("scale", jnp.exp2(units["scale"].value * strength.scale_std), 1.0)
        factors.append(scaling(1 / s, 1 / s))
    if "rotate" in ops:
        factors.append(turn(0))
    if "aniso" in ops:
        s = gated("aniso", jnp.exp2(units["aniso"].value * strength.aniso_std), 1.0)
        factors.append(scaling(1 / s, s))
    if "rotate" in ops:
        factors.append(turn(1))
    if "xfrac" in ops:
        share = gated("xfrac", units["xfrac"].value * strength.xfrac_std, 0.0)
        factors.append(translation(-share * size))
    product = factors[0]
    for factor in factors[1:]:
        product = jnp.matmul(product, factor, precision=jax.lax.Precision.HIGHEST)
    return product
