"""FIR resampling: upsample, pad or crop, filter, decimate, in one pass per axis (SG1 §2 blur, SG2 App. B, ADA App. B).

Conventions: images are [n, h, w, c]. `up`, `down` are one integer or (x, y); `padding` is one integer, (x, y) or
(x_before, x_after, y_before, y_after), and refers to the upsampled image; negative padding crops. x is the width.
Filters are true convolutions unless `flip_filter`. A 1-D filter is applied along both axes; it equals its 2-D outer
product.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

LOWERINGS = ("banded", "shifted")
BANDED_SAMPLES = 64
"""On CPU, axes up to this long are resampled by one matrix product: a third slower to run than shifted adds, but a
tenth of the operations to compile, and its gradient is one product again."""

Filter = jax.Array | np.ndarray | None
Scale = int | Sequence[int]


def setup_filter(
    taps: Sequence[float] | Sequence[Sequence[float]] | float | np.ndarray | None,
    *,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> np.ndarray:
    """Prepare an FIR filter from its taps.

    Args:
        taps: scalar, 1-D or 2-D taps; None is the identity.
        normalize: divide by the sum, so that a constant image keeps its value.
        flip_filter: reverse the taps.
        gain: overall gain of the 2-D filter; each axis of a separable one takes its square root.
        separable: keep 1-D taps 1-D; by default only those with 8 or more.

    Returns:
        float32[f] when separable, else float32[fh, fw].
    """
    f = np.atleast_1d(np.asarray(1.0 if taps is None else taps, dtype=np.float32))
    if f.ndim > 2 or f.size == 0:
        raise ValueError(f"filter taps have shape {f.shape}; they must be a scalar, 1-D or 2-D, and not empty")
    if separable is None:
        separable = f.ndim == 1 and f.size >= 8
    if f.ndim == 1 and not separable:
        f = np.outer(f, f)
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f[tuple(slice(None, None, -1) for _ in range(f.ndim))]
    return np.ascontiguousarray(f * np.float32(gain ** (f.ndim / 2)), dtype=np.float32)


def pair(value: Scale) -> tuple[int, int]:
    """Return (x, y) of one integer or an (x, y) sequence."""
    if isinstance(value, Sequence):
        x, y = value
        return int(x), int(y)
    return int(value), int(value)


def padding4(padding: Scale) -> tuple[int, int, int, int]:
    """Return (x_before, x_after, y_before, y_after)."""
    if isinstance(padding, Sequence) and len(padding) == 4:
        x0, x1, y0, y1 = padding
        return int(x0), int(x1), int(y0), int(y1)
    x, y = pair(padding)
    return x, x, y, y


def filter_size(f: Filter) -> tuple[int, int]:
    """Return (width, height) of a filter in taps; 1 for the identity."""
    if f is None:
        return 1, 1
    return int(f.shape[-1]), int(f.shape[0])


def upfirdn2d(
    x: jax.Array,
    f: Filter,
    *,
    up: Scale = 1,
    down: Scale = 1,
    padding: Scale = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    lowering: str | None = None,
) -> jax.Array:
    """Upsample by zero insertion, pad, filter and decimate.

    Args:
        x: float[n, h, w, c].
        f: filter of `setup_filter`, or None for the identity.
        up: zeros are inserted after each sample, so that sizes grow by this factor.
        down: every `down`-th sample is kept, from the first on.
        padding: zeros around the upsampled image; negative values crop.
        flip_filter: correlate rather than convolve.
        gain: multiplies the output.
        lowering: 'shifted' adds or 'banded' matrix products; None chooses by platform and size.

    Returns:
        float[n, (h*up_y + pad - fh) // down_y + 1, (w*up_x + pad - fw) // down_x + 1, c], in the dtype of `x`.
    """
    (ux, uy), (dx, dy) = pair(up), pair(down)
    x0, x1, y0, y1 = padding4(padding)
    g = np.ones([1], np.float64) if f is None else f  # float64 takes any gain exactly
    if not flip_filter:  # written as a correlation from here on
        g = g[tuple(slice(None, None, -1) for _ in range(g.ndim))]
    g = g * gain ** (g.ndim / 2)
    if g.ndim == 1:
        x = _axis_fir(x, g, axis=2, up=ux, down=dx, pad=(x0, x1), lowering=lowering)
        return _axis_fir(x, g, axis=1, up=uy, down=dy, pad=(y0, y1), lowering=lowering)
    rows = []
    x = _axis_pad(_axis_stuff(x, 1, uy), 1, (y0, y1))
    height = (x.shape[1] - g.shape[0]) // dy + 1
    for k in range(g.shape[0]):
        row = jax.lax.slice_in_dim(x, k, k + (height - 1) * dy + 1, dy, axis=1)
        rows.append(_axis_fir(row, g[k], axis=2, up=ux, down=dx, pad=(x0, x1), lowering=lowering))
    return sum(rows[1:], rows[0])


def _axis_pad(x: jax.Array, axis: int, pad: tuple[int, int], interior: int = 0) -> jax.Array:
    if pad == (0, 0) and not interior:
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (*pad, interior)
    return jax.lax.pad(x, jnp.zeros([], x.dtype), config)


def _axis_stuff(x: jax.Array, axis: int, up: int) -> jax.Array:
    """Insert up - 1 zeros after every sample of an axis."""
    return x if up == 1 else _axis_pad(x, axis, (0, up - 1), up - 1)


def _axis_fir(
    x: jax.Array, g, *, axis: int, up: int, down: int, pad: tuple[int, int], lowering: str | None
) -> jax.Array:
    """Correlate one axis with taps g[f], without ever filtering inserted zeros."""
    taps = g.shape[0]
    length = (x.shape[axis] * up + sum(pad) - taps) // down + 1
    if length < 1:
        raise ValueError(f"axis {axis} has {x.shape[axis] * up + sum(pad)} samples once padded; the filter has {taps}")
    if lowering is None:
        small = max(x.shape[axis], length) <= BANDED_SAMPLES
        lowering = "banded" if small and jax.default_backend() == "cpu" else "shifted"
    if lowering == "banded" and isinstance(g, np.ndarray):
        return _axis_banded(x, g, axis=axis, up=up, down=down, before=pad[0], length=length)
    g = np.asarray(g, x.dtype) if isinstance(g, np.ndarray) else jnp.asarray(g, x.dtype)
    if up > 1 and down > 1:
        x, up = _axis_stuff(x, axis, up), 1
    if up == 1:
        x = _axis_pad(x, axis, pad)
        ends = (length - 1) * down + 1
        return _weighted([(g[k], jax.lax.slice_in_dim(x, k, k + ends, down, axis=axis)) for k in range(taps)])
    return _axis_polyphase(x, g, axis=axis, up=up, before=pad[0], length=length)


def _axis_banded(x: jax.Array, g: np.ndarray, *, axis: int, up: int, down: int, before: int, length: int) -> jax.Array:
    """The whole resampling of one axis as one matrix product with a banded matrix."""
    matrix = np.zeros((length, x.shape[axis]), np.float64)
    for k in range(g.shape[0]):
        at = np.arange(length) * down + k - before
        real = (at % up == 0) & (at >= 0) & (at < x.shape[axis] * up)
        matrix[np.flatnonzero(real), at[real] // up] += g[k]
    moved = jnp.tensordot(jnp.asarray(matrix, x.dtype), x, axes=(1, axis))
    return jnp.moveaxis(moved, 0, axis)


def _axis_polyphase(x: jax.Array, g, *, axis: int, up: int, before: int, length: int) -> jax.Array:
    """Output sample up*q + r reads x[q + (r + k - before) / up] for the taps k that land on a real sample."""
    steps = -(-length // up)
    phases = []
    for r in range(up):
        reads = [(g[k], (r + k - before) // up) for k in range(g.shape[0]) if (r + k - before) % up == 0]
        shape = tuple(steps if a == axis else s for a, s in enumerate(x.shape))
        terms = [(tap, _window(x, axis, shift, steps)) for tap, shift in reads]
        phases.append(_weighted(terms) if terms else jnp.zeros(shape, x.dtype))
    out = jnp.stack(phases, axis=axis + 1)
    out = out.reshape(tuple(steps * up if a == axis else s for a, s in enumerate(x.shape)))
    return jax.lax.slice_in_dim(out, 0, length, axis=axis)


def _window(x: jax.Array, axis: int, start: int, size: int) -> jax.Array:
    """Return x[start:start+size] of an axis, zeros outside."""
    length = x.shape[axis]
    return _axis_pad(x, axis, (-start, start + size - length))


def _weighted(terms: list) -> jax.Array:
    (tap, value), *rest = terms
    total = tap * value
    for tap, value in rest:
        total = total + tap * value
    return total


def filter2d(x: jax.Array, f: Filter, *, padding: Scale = 0, flip_filter: bool = False, gain: float = 1.0) -> jax.Array:
    """Filter and keep the size (before the extra `padding`); float[n, h, w, c] in and out."""
    x0, x1, y0, y1 = padding4(padding)
    fw, fh = filter_size(f)
    pads = (x0 + fw // 2, x1 + (fw - 1) // 2, y0 + fh // 2, y1 + (fh - 1) // 2)
    return upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: jax.Array, f: Filter, *, up: Scale = 2, padding: Scale = 0, flip_filter: bool = False, gain: float = 1.0
) -> jax.Array:
    """Enlarge by `up`; the inserted zeros are made up for by the gain up_x * up_y."""
    x0, x1, y0, y1 = padding4(padding)
    (ux, uy), (fw, fh) = pair(up), filter_size(f)
    pads = (x0 + (fw + ux - 1) // 2, x1 + (fw - ux) // 2, y0 + (fh + uy - 1) // 2, y1 + (fh - uy) // 2)
    return upfirdn2d(x, f, up=(ux, uy), padding=pads, flip_filter=flip_filter, gain=gain * ux * uy)


def downsample2d(
    x: jax.Array, f: Filter, *, down: Scale = 2, padding: Scale = 0, flip_filter: bool = False, gain: float = 1.0
) -> jax.Array:
    """Shrink by `down` after filtering."""
    x0, x1, y0, y1 = padding4(padding)
    (dx, dy), (fw, fh) = pair(down), filter_size(f)
    pads = (x0 + (fw - dx + 1) // 2, x1 + (fw - dx) // 2, y0 + (fh - dy + 1) // 2, y1 + (fh - dy) // 2)
    return upfirdn2d(x, f, down=(dx, dy), padding=pads, flip_filter=flip_filter, gain=gain)
