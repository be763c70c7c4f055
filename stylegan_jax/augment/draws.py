"""Random numbers of the ADA operations: unit draws first, then the parameters that follow from them and a strength p.

The two steps are separate so that a test can fix the draws and p can be traced.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.augment import affine, color, spectrum
from stylegan_jax.augment.pipes import COLOR, GEOMETRY
from stylegan_jax.base import rng
from stylegan_jax.config import AugmentStrength


class Unit(NamedTuple):
    """The draws of one operation, one row per sample.

    Attributes:
        value: uniform in [0, 1) or unit normal, as `SHAPES` says.
        gate: uniform in [0, 1); the operation acts if it is below its probability.
    """

    value: jax.Array
    gate: jax.Array


class Params(NamedTuple):
    """What is done to each sample; None where no operation of the kind is on.

    Attributes:
        g_inv: float[n, 3, 3], from centred output pixel coordinates (x, y, 1) to input ones.
        color: float[n, 3, 4], from (r, g, b, 1) to (r, g, b).
        gains: float[n, 4], amplification of each frequency band.
        noise: float[n, h, w, c], or float[n, t, h, w, c] for clips, what is added.
        cut_center: float[n, 2], (x, y) of the rectangle in units of the image.
        cut_size: float[n, 2], its (width, height) in units of the image; 0 where nothing is cut.
    """

    g_inv: jax.Array | None = None
    color: jax.Array | None = None
    gains: jax.Array | None = None
    noise: jax.Array | None = None
    cut_center: jax.Array | None = None
    cut_size: jax.Array | None = None


UNIFORM, NORMAL = "uniform", "normal"
# operation: distribution of the value, shape of value and of gate per sample
SHAPES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "xflip": (UNIFORM, (), ()),
    "rotate90": (UNIFORM, (), ()),
    "xint": (UNIFORM, (2,), ()),
    "scale": (NORMAL, (), ()),
    "rotate": (UNIFORM, (2,), (2,)),  # before and after the anisotropic scaling
    "aniso": (NORMAL, (), ()),
    "xfrac": (NORMAL, (2,), ()),
    "brightness": (NORMAL, (), ()),
    "contrast": (NORMAL, (), ()),
    "lumaflip": (UNIFORM, (), ()),
    "hue": (UNIFORM, (), ()),
    "saturation": (NORMAL, (), ()),
    "imgfilter": (NORMAL, (4,), (4,)),  # one per band
    "noise": (NORMAL, (), ()),  # the standard deviation; the pixels have their own draw
    "cutout": (UNIFORM, (2,), ()),
}


def draw_units(
    key: jax.Array, n: int, ops: dict[str, float], image_shape: tuple[int, ...]
) -> tuple[dict[str, Unit], jax.Array | None]:
    """Return ({operation: its unit draws for n samples}, unit normal pixels float[n, h, w, c] if 'noise' is on).

    One array of each distribution serves all operations, on or off: two random programs instead of two per operation,
    and an operation's draws do not depend on which others are on.
    """
    columns = {UNIFORM: 0, NORMAL: 0}

    def take(kind: str, shape: tuple[int, ...]) -> slice:
        start = columns[kind]
        columns[kind] += math.prod(shape)
        return slice(start, columns[kind])

    places = {op: (take(kind, value), take(UNIFORM, gate)) for op, (kind, value, gate) in SHAPES.items()}
    pool = {
        UNIFORM: jax.random.uniform(rng.stream(key, "augment/uniform"), (n, columns[UNIFORM])),
        NORMAL: jax.random.normal(rng.stream(key, "augment/normal"), (n, columns[NORMAL])),
    }
    units = {}
    for op in ops:
        (kind, value, gate), (value_at, gate_at) = SHAPES[op], places[op]
        units[op] = Unit(
            pool[kind][:, value_at].reshape(n, *value),
            pool[UNIFORM][:, gate_at].reshape(n, *gate),
        )
    if "noise" not in ops:
        return units, None
    return units, jax.random.normal(rng.stream(key, "augment/pixels"), (n, *image_shape))


def to_params(
    units: dict[str, Unit],
    pixels: jax.Array | None,
    p: jax.Array | float,
    ops: dict[str, float],
    strength: AugmentStrength,
    image_shape: tuple[int, int, int],
) -> Params:
    """Turn unit draws into parameters.

    Args:
        units: of `draw_units`.
        pixels: float[n, h, w, c], unit normal, if 'noise' is on.
        p: float[], overall strength; 0 and below has no effect, 1 and above means full probability.
        ops: {operation: multiplier of p}.
        strength: standard deviations and ranges.
        image_shape: (h, w, c).
    """

    def gated(op: str, value: jax.Array, neutral: float) -> jax.Array:
        active = units[op].gate < ops[op] * p
        return jnp.where(active.reshape(active.shape + (1,) * (value.ndim - active.ndim)), value, neutral)

    out = Params()
    if any(op in ops for op in GEOMETRY):
        out = out._replace(g_inv=affine.inverse(units, gated, p, ops, strength, image_shape))
    if any(op in ops for op in COLOR):
        out = out._replace(color=color.matrix(units, gated, strength))
    if "imgfilter" in ops:
        bands = jnp.asarray(strength.imgfilter_bands, units["imgfilter"].gate.dtype)
        active = units["imgfilter"].gate < bands[None, :] * (ops["imgfilter"] * p)
        amplified = jnp.exp2(units["imgfilter"].value * strength.imgfilter_std)
        out = out._replace(gains=spectrum.band_gains(jnp.where(active, amplified, 1.0)))
    if "noise" in ops:
        sigma = gated("noise", jnp.abs(units["noise"].value) * strength.noise_std, 0.0)
        assert pixels is not None
        out = out._replace(noise=pixels * sigma.reshape(-1, *[1] * (pixels.ndim - 1)))
    if "cutout" in ops:
        center = units["cutout"].value
        size = gated("cutout", jnp.full_like(center, strength.cutout_size), 0.0)
        out = out._replace(cut_center=center, cut_size=size)
    return out
