"""FIR resampling: upsample, pad or crop, filter, decimate, in one pass per axis (SG1 §2 blur, SG2 App. B, ADA App. B).

Conventions: images are [n, h, w, c]. `up`, `down` are one integer or (x, y); `padding` is one integer, (x, y) or
(x_before, x_after, y_before, y_after), and refers to the upsampled image; negative padding crops. x is the width.
Filters are true convolutions unless `flip_filter`. A 1-D filter is applied along both axes; it equals its 2-D outer
product.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import backend

LOWERINGS = ("shifted", "banded", "depthwise")
DEFAULT: str | None = None
"""Lowering of calls that name none; None: 'depthwise' for ONNX, 'banded' for TPU, 'shifted' elsewhere.

On TPU, shifted copies that are enlarged or decimated are written to memory one by one, with 3 channels or 2 phases
padded to a tile. A [1, 3, 3, 1] filter with its gradient takes, in milliseconds by the cycles that the compiler for v5e
expects (libtpu 0.0.42.1), shifted and banded: bfloat16[4, 128, 128, 64] enlarged 22.6 and 0.45, [4, 256, 256, 64]
reduced 22.9 and 0.48, float32[4, 128, 128, 3] enlarged 16.4 and 0.01; at its size bfloat16[4, 257, 257, 64] 3.0 and
0.9, [4, 1025, 1025, 32] 17.6 and 10.0. Where products also mixed the rows, the last two took 0.8 and 16.4. 12 taps that
enlarge bfloat16[4, 148, 148, 128]: 24.3 and 2.9. Banded products mix a whole axis, so that images whose rows are split
over devices stay 'shifted'.
"""
FEW_TAPS = 8
"""Of a filter of rows that 'banded' applies by shifting them, where their number stays."""
ONE_PASS_TAPS = 16
ONE_PASS_SAMPLES = 16
"""A 1-D filter whose outer product has no more taps than this is applied in one pass over both axes, to images of at
least so many samples; on smaller ones that saves no time, and two sums of four terms have less rounding error than one
of sixteen."""

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

    Raises:
        ValueError: the taps are empty or have more than two axes.
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
        down: every `down`-th sample is kept, starting with the first.
        padding: zeros around the upsampled image; negative values crop.
        flip_filter: correlate rather than convolve.
        gain: multiplies the output.
        lowering: one of `LOWERINGS`: sums of shifted images, products with banded matrices, or a convolution with a
            group per channel; None: `DEFAULT`. A traced filter is always 'shifted'.

    Returns:
        float[n, (h*up_y + pad - fh) // down_y + 1, (w*up_x + pad - fw) // down_x + 1, c], in the dtype of `x`.

    Raises:
        ValueError: the lowering is unknown, or an axis has fewer samples than the filter once padded.
    """
    lowering = lowering or DEFAULT or _default()
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering is {lowering!r}; known: {', '.join(LOWERINGS)}")
    (ux, uy), (dx, dy) = pair(up), pair(down)
    x0, x1, y0, y1 = padding4(padding)
    g = np.ones([1], np.float64) if f is None else f  # float64 takes any gain exactly
    if not flip_filter:  # written as a correlation from here on
        g = g[tuple(slice(None, None, -1) for _ in range(g.ndim))]
    g = g * gain ** (g.ndim / 2)
    one_pass = g.ndim == 1 and g.shape[0] ** 2 <= ONE_PASS_TAPS and max(x.shape[1:3]) >= ONE_PASS_SAMPLES
    if one_pass and isinstance(g, np.ndarray) and lowering == "shifted":
        g = np.outer(g, g)
    height, width = filter_size(g)[::-1]
    rows = _axis("1", x.shape[1], height, uy, dy, (y0, y1))
    columns = _axis("2", x.shape[2], width, ux, dx, (x0, x1))
    if g.ndim == 2:
        return _filter(x, g, rows, columns, lowering)
    x = _settle(_filter(x, g[None], _same(x.shape[1]), columns, lowering))
    return _filter(x, g[:, None], rows, _same(x.shape[2]), lowering)


def _default() -> str:
    """Return the lowering for the platform that is traced for."""
    if backend.platform() == "tpu":
        return "shifted" if backend.rows_are_split.value else "banded"
    return "depthwise" if backend.platform() == "onnx" else "shifted"


class _Axis(NamedTuple):
    """How one axis is resampled: out[o] = sum over taps k of g[k] stuffed[o * down + k - before].

    `stuffed` is the input of `size` samples with up - 1 zeros after each, and zeros outside; `length` samples come out.
    """

    size: int
    up: int
    down: int
    before: int
    length: int

    def transposed(self, taps: int) -> _Axis:
        """Return the axis of the transposed map, which uses the taps in reverse."""
        return _Axis(self.length, self.down, self.up, taps - 1 - self.before, self.size)

    def reads(self, taps: int) -> tuple[int, int, list[tuple[int, np.ndarray]]]:
        """Return (phases, step, reads): out[q * phases + r] = sum over reads (s, k) of g[k[r]] x[q * step + s].

        k is int[phases], outside [0, taps) where there is no tap.
        """
        both = math.gcd(self.up, self.down)
        phases, step = self.up // both, self.down // both
        first = -(self.before // self.up)
        last = (taps - 1 + (phases - 1) * self.down - self.before) // self.up
        tap = lambda s: s * self.up - np.arange(phases) * self.down + self.before
        return phases, step, [(s, tap(s)) for s in range(first, last + 1)]


def _same(size: int) -> _Axis:
    return _Axis(size, 1, 1, 0, size)


def _axis(name: str, size: int, taps: int, up: int, down: int, pad: tuple[int, int]) -> _Axis:
    length = (size * up + sum(pad) - taps) // down + 1
    if length < 1:
        raise ValueError(f"axis {name} has {size * up + sum(pad)} samples once padded; the filter has {taps}")
    return _Axis(size, up, down, pad[0], length)


def _filter(x: jax.Array, g: Any, rows: _Axis, columns: _Axis, lowering: str) -> jax.Array:
    """Resample both axes with taps g[fh, fw]."""
    if not isinstance(g, np.ndarray):
        return _shifted_sum(x, jnp.asarray(g), rows, columns)
    if lowering == "banded":
        return _banded(x, g, rows, columns)
    if lowering == "depthwise":
        return _depthwise(x, g, rows, columns)
    return _shifted(x, tuple(map(tuple, g.tolist())), rows, columns)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _shifted_rule(x: jax.Array, taps: tuple[tuple[float, ...], ...], rows: _Axis, columns: _Axis) -> jax.Array:
    return _shifted_sum(x, np.asarray(taps), rows, columns)


_shifted = jax.jit(_shifted_rule, static_argnums=(1, 2, 3))  # traced once: a radial filter has hundreds of operations


def _shifted_forward(x, taps, rows, columns):
    return _shifted(x, taps, rows, columns), None


def _shifted_backward(taps, rows, columns, _, g):
    """The transpose is a resampling too, with up and down exchanged and the taps reversed."""
    turned = tuple(row[::-1] for row in taps[::-1])
    return (_shifted(g, turned, rows.transposed(len(taps)), columns.transposed(len(taps[0]))),)


_shifted_rule.defvjp(_shifted_forward, _shifted_backward)


def _shifted_sum(x: jax.Array, g: Any, rows: _Axis, columns: _Axis) -> jax.Array:
    """Sum shifted copies of the input times taps, in at least float32: one loop over the output once fused."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    (py, sy, reads_y), (px, sx, reads_x) = rows.reads(g.shape[0]), columns.reads(g.shape[1])
    blocks_y, blocks_x = -(-rows.length // py), -(-columns.length // px)
    first_y, first_x = reads_y[0][0], reads_x[0][0]
    pad_y = (-first_y, (blocks_y - 1) * sy + reads_y[-1][0] + 1 - rows.size, 0)
    pad_x = (-first_x, (blocks_x - 1) * sx + reads_x[-1][0] + 1 - columns.size, 0)
    x = jax.lax.pad(x, jnp.zeros([], x.dtype), ((0, 0, 0), pad_y, pad_x, (0, 0, 0)))
    x = _settle(x)
    n, _, _, c = x.shape
    shape, over_taps, over_x = (n, blocks_y, py, blocks_x, px, c), (2, 4), (0, 1, 3, 5)
    if py * px == 1:
        shape, over_taps, over_x = (n, blocks_y, blocks_x, c), (), (0, 1, 2, 3)
    totals = []
    for a, ky in reads_y:  # summed by rows: shorter chains of additions
        terms = []
        for b, kx in reads_x:
            real = ((ky >= 0) & (ky < g.shape[0]))[:, None] & ((kx >= 0) & (kx < g.shape[1]))
            if not real.any():
                continue
            start = (0, a - first_y, b - first_x, 0)
            end = (n, start[1] + (blocks_y - 1) * sy + 1, start[2] + (blocks_x - 1) * sx + 1, c)
            part = jax.lax.slice(x, start, end, (1, sy, sx, 1)).astype(dtype)
            taps = g[np.clip(ky, 0, g.shape[0] - 1)][:, np.clip(kx, 0, g.shape[1] - 1)]
            taps = (
                (np if isinstance(g, np.ndarray) else jnp)
                .where(real, taps, 0)
                .astype(dtype)
                .reshape((py, px) if over_taps else ())
            )
            spread = [jax.lax.broadcast_in_dim(taps, shape, over_taps), jax.lax.broadcast_in_dim(part, shape, over_x)]
            terms.append(jax.lax.mul(*spread))
        if terms:
            totals.append(functools.reduce(jax.lax.add, terms))
    out = functools.reduce(jax.lax.add, totals) if totals else jnp.zeros(shape, dtype)
    out = out.astype(x.dtype).reshape(n, blocks_y * py, blocks_x * px, c)
    return out[:, : rows.length, : columns.length]


def _settle(x: jax.Array) -> jax.Array:
    """Keep XLA on CPU from computing an array anew, padding and all, for each of the taps that read it."""
    return jax.lax.optimization_barrier(x) if backend.platform() == "cpu" else x


def _depthwise(x: jax.Array, g: np.ndarray, rows: _Axis, columns: _Axis) -> jax.Array:
    """The resampling as one convolution with a group per channel; zeros are inserted between upsampled samples."""
    pads = [_conv_padding(rows, g.shape[0]), _conv_padding(columns, g.shape[1])]
    return jax.lax.conv_general_dilated(
        x,
        jnp.broadcast_to(jnp.asarray(g, x.dtype)[..., None, None], (*g.shape, 1, x.shape[3])),
        (rows.down, columns.down),
        pads,
        lhs_dilation=(rows.up, columns.up),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3],
    )


def _conv_padding(axis: _Axis, taps: int) -> tuple[int, int]:
    """Return the padding with which a convolution of taps resamples an axis, after zeros are inserted in it."""
    stuffed = (axis.size - 1) * axis.up + 1
    return axis.before, (axis.length - 1) * axis.down + taps - stuffed - axis.before


def _banded(x: jax.Array, g: np.ndarray, rows: _Axis, columns: _Axis) -> jax.Array:
    """The resampling as a product with a banded matrix per axis, or one convolution of them for an inseparable filter.

    A short filter of rows whose number stays shifts them: they are no part of a tile.
    """
    if (factors := _factors(g)) is not None:
        column, row = factors
        if rows.up == rows.down == 1 and 1 < column.size <= FEW_TAPS:
            x = _shifted(x, tuple((tap,) for tap in column.tolist()), rows, _same(x.shape[2]))
        else:
            x = _product(x, column, 1, rows)
        return _product(x, row, 2, columns)
    # One convolution along the rows, whose channels are the columns: no array per row of taps.
    bands = [jnp.stack([_band(row, columns, x.dtype).T for row in part])[:, None] for part in _parts(g, x.dtype)]
    filtered = [
        jax.lax.conv_general_dilated(
            x,
            band,
            (rows.down, 1),
            (_conv_padding(rows, g.shape[0]), (0, 0)),
            lhs_dilation=(rows.up, 1),
            dimension_numbers=("NHCW", "HWIO", "NHCW"),
            precision="highest",
        )
        for band in bands
    ]
    return sum(filtered[1:], filtered[0])


def _factors(g: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the column and the row whose outer product a filter is, the row with sum 1; None: there are none."""
    if 1 in g.shape:
        return (g[:, 0], np.ones(1)) if g.shape[1] == 1 else (np.ones(1), g[0])
    whole = g.sum(dtype=np.float64)
    column, row = g.sum(1, dtype=np.float64), g.sum(0, dtype=np.float64) / (whole or 1)
    off = np.abs(np.outer(column, row) - g).max()
    return (column, row) if whole and off <= 1e-15 * np.abs(g).max() else None


def _product(x: jax.Array, g: np.ndarray, axis: int, how: _Axis) -> jax.Array:
    """Resample an axis as a product with a banded matrix for each of the taps' `_parts`."""
    if how == _same(how.size) and g.tolist() == [1.0]:
        return x
    bands = [_band(part, how, x.dtype) for part in _parts(g, x.dtype)]
    moved = [jnp.tensordot(band, x, axes=(1, axis), precision="highest") for band in bands]
    return jnp.moveaxis(sum(moved[1:], moved[0]), 0, axis)


def _parts(g: np.ndarray, dtype: Any) -> list[np.ndarray]:
    """Return taps whose sum is g: in a short dtype g as rounded and, if it is no such number, the rest."""
    if jnp.dtype(dtype).itemsize >= 4:
        return [g]
    taps = g.astype(jnp.dtype(dtype)).astype(np.float64)
    return [taps, g - taps] if np.any(g != taps) else [taps]


def _band(g: np.ndarray, how: _Axis, dtype: Any) -> jax.Array:
    """Return the matrix [length, size] of an axis: tap i * up - o * down + before where there is one, else 0."""
    shape = (how.length, how.size)
    o, i = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    tap = i * how.up - o * how.down + how.before
    return sum((jnp.where(tap == k, value, 0) for k, value in enumerate(g.tolist())), jnp.zeros(shape)).astype(dtype)


def filter2d(x: jax.Array, f: Filter, *, padding: Scale = 0, flip_filter: bool = False, gain: float = 1.0) -> jax.Array:
    """Filter and keep the size (before the extra `padding`); float[n, h, w, c] in and out."""
    x0, x1, y0, y1 = padding4(padding)
    fw, fh = filter_size(f)
    pads = (x0 + fw // 2, x1 + (fw - 1) // 2, y0 + fh // 2, y1 + (fh - 1) // 2)
    return upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: jax.Array, f: Filter, *, up: Scale = 2, padding: Scale = 0, flip_filter: bool = False, gain: float = 1.0
) -> jax.Array:
    """Enlarge float[n, h, w, c] to [n, h*up_y, w*up_x, c]; a gain of up_x*up_y makes up for the inserted zeros."""
    x0, x1, y0, y1 = padding4(padding)
    (ux, uy), (fw, fh) = pair(up), filter_size(f)
    pads = (x0 + (fw + ux - 1) // 2, x1 + (fw - ux) // 2, y0 + (fh + uy - 1) // 2, y1 + (fh - uy) // 2)
    return upfirdn2d(x, f, up=(ux, uy), padding=pads, flip_filter=flip_filter, gain=gain * ux * uy)


def downsample2d(
    x: jax.Array, f: Filter, *, down: Scale = 2, padding: Scale = 0, flip_filter: bool = False, gain: float = 1.0
) -> jax.Array:
    """Filter float[n, h, w, c] and shrink it to [n, h // down_y, w // down_x, c]."""
    x0, x1, y0, y1 = padding4(padding)
    (dx, dy), (fw, fh) = pair(down), filter_size(f)
    pads = (x0 + (fw - dx + 1) // 2, x1 + (fw - dx) // 2, y0 + (fh - dy + 1) // 2, y1 + (fh - dy) // 2)
    return upfirdn2d(x, f, down=(dx, dy), padding=pads, flip_filter=flip_filter, gain=gain)
