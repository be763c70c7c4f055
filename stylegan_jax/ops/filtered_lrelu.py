"""Leaky ReLU between an upsampling and a downsampling, so that it creates little aliasing (SG3 App. D).

Two lowerings compute the same function. 'plain' is the reference: one operation after the other, with the enlarged
image in memory, and kept for the gradient. 'lean' works through the channels in parts and keeps only the input for the
gradient, which recomputes the enlarged image of a part. The function is piecewise linear between linear maps: with m(x)
the slope
everywhere, its derivative in direction u is D(m(x) U u) and its gradient U'(m(x) D' g). Each of the two is the
transpose of the other, and neither has a derivative in x, so that with both every order of reverse-mode derivative is
lean.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.ops import fir
from stylegan_jax.ops.bias_act import bias_act, spread_bias

LOWERINGS = ("lean", "plain")
DEFAULT: str | None = None
"""Lowering of calls that name none; None: 'lean' if the enlarged images have `LEAN_BYTES` or more, else 'plain'."""
LEAN_BYTES = 64 << 20
"""See `DEFAULT`."""
PARTS = 8
"""Parts of the channels in the lean lowering, if each has at least `MIN_CHANNELS`, so that inner loops stay long."""
MIN_CHANNELS = 16

Taps = tuple[float, ...] | tuple[tuple[float, ...], ...] | None


def filtered_lrelu(
    x: jax.Array,
    b: jax.Array | None = None,
    fu: fir.Filter = None,
    fd: fir.Filter = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: fir.Scale = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    lowering: str | None = None,
) -> jax.Array:
    """Add a bias, upsample, apply leaky ReLU with gain and clamp, downsample.

    Source: SG3 App. D.

    Args:
        x: float[n, h, w, c].
        b: float[c] or None; added before upsampling, so the padding stays zero.
        fu: upsampling filter of `fir.setup_filter`, or None for the identity.
        fd: downsampling filter, likewise.
        up: integer enlargement; the gain up^2 compensates for the inserted zeros.
        down: integer reduction.
        padding: as in `fir.upfirdn2d`; refers to the upsampled image.
        gain: multiplies the activation.
        slope: of the negative side.
        clamp: bound of the absolute value after the gain, before downsampling; None: no bound.
        flip_filter: correlate with both filters rather than convolve.
        lowering: one of `LOWERINGS`; None: `DEFAULT`. 'lean' needs constant filters.

    Returns:
        float[n, (h' - fd_h) // down + 1, (w' - fd_w) // down + 1, c], dtype of `x`, where the enlarged image has
        h' = h*up + pad_y - fu_h + 1 and w' = w*up + pad_x - fu_w + 1.
    """
    constant = all(f is None or isinstance(f, np.ndarray) for f in (fu, fd))
    if lowering is None and constant:
        lowering = DEFAULT
    if lowering is None:
        images = x.shape[0] if isinstance(x.shape[0], int) else 1  # a batch of any size, in an exported program
        enlarged = up > 1 and images * math.prod(x.shape[1:]) * up**2 * x.dtype.itemsize >= LEAN_BYTES
        lowering = "lean" if enlarged and constant else "plain"
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering is {lowering!r}; known: {', '.join(LOWERINGS)}")
    if lowering == "lean" and not constant:
        raise ValueError("lowering='lean' needs filters that are NumPy arrays; use 'plain' for traced ones")
    if b is not None:
        x = x + spread_bias(b.astype(x.dtype), x.shape)
    how = _How(fu, fd, up, down, fir.padding4(padding), gain, slope, clamp, flip_filter)
    if lowering == "plain":
        return _plain(x, how)
    return _lean(x, how._replace(fu=_static(fu), fd=_static(fd)))


class _How(NamedTuple):
    """All arguments except the image and the bias; hashable once the filters are tuples of taps."""

    fu: fir.Filter | Taps
    fd: fir.Filter | Taps
    up: int
    down: int
    padding: tuple[int, int, int, int]
    gain: float
    slope: float
    clamp: float | None
    flip_filter: bool


def _static(f: fir.Filter) -> Taps:
    if f is None:
        return None
    rows = np.asarray(f).tolist()
    return tuple(map(tuple, rows)) if isinstance(rows[0], list) else tuple(rows)


def _up(x: jax.Array, how: _How) -> jax.Array:
    f = np.asarray(how.fu) if isinstance(how.fu, tuple) else how.fu
    return fir.upfirdn2d(x, f, up=how.up, padding=how.padding, gain=how.up**2, flip_filter=how.flip_filter)


def _act(x: jax.Array, how: _How) -> jax.Array:
    return bias_act(x, act="lrelu", alpha=how.slope, gain=how.gain, clamp=how.clamp)


def _down(x: jax.Array, how: _How) -> jax.Array:
    f = np.asarray(how.fd) if isinstance(how.fd, tuple) else how.fd
    return fir.upfirdn2d(x, f, down=how.down, flip_filter=how.flip_filter)


def _plain(x: jax.Array, how: _How) -> jax.Array:
    return _down(_act(_up(x, how), how), how)


def _by_channels(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """Apply a function of [n, h, w, part] arrays to parts of the channels, one after the other."""
    c = arrays[0].shape[3]
    size = min(max(MIN_CHANNELS, -(-c // PARTS)), c)
    if size == c:
        return function(*arrays)
    part = lambda i: [jax.lax.dynamic_slice_in_dim(x, i, size, axis=3) for x in arrays]
    shape = jax.eval_shape(lambda: function(*part(0)))
    out = jnp.zeros((*shape.shape[:3], c), shape.dtype)

    def step(i, out):
        start = jnp.minimum(i * size, c - size)  # the last part may repeat channels of the one before
        return jax.lax.dynamic_update_slice_in_dim(out, function(*part(start)), start, axis=3)

    return jax.lax.fori_loop(0, -(-c // size), step, out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _lean(x: jax.Array, how: _How) -> jax.Array:
    return _by_channels(lambda x: _plain(x, how), x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gradient(x: jax.Array, g: jax.Array, how: _How) -> jax.Array:
    """U'(m(x) D' g)."""
    return _by_channels(lambda x, g: jax.vjp(lambda x: _plain(x, how), x)[1](g)[0], x, g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _tangent(x: jax.Array, u: jax.Array, how: _How) -> jax.Array:
    """D(m(x) U u)."""
    act = lambda x: _act(x, how)
    part = lambda x, u: _down(jax.jvp(act, (_up(x, how),), (_up(u, how),))[1], how)
    return _by_channels(part, x, u)


_lean.defvjp(
    lambda x, how: (_lean(x, how), x),
    lambda how, x, g: (_gradient(x, g, how),),
)
_gradient.defvjp(
    lambda x, g, how: (_gradient(x, g, how), x),
    lambda how, x, v: (jnp.zeros_like(x), _tangent(x, v, how)),
)
_tangent.defvjp(
    lambda x, u, how: (_tangent(x, u, how), x),
    lambda how, x, v: (jnp.zeros_like(x), _gradient(x, v, how)),
)
