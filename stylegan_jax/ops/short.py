"""Convolutions of three columns of taps with half the products: F(4, 3) along rows of the image.

Four neighbouring outputs of a filter of three taps are a product of polynomials, and follow from its values at six
points, each of them one product instead of twelve in all (Toom 1963, Cook 1966, Winograd 1980; for convolutional
networks Lavin & Gray 2016, §4.1). Only one axis is transformed: with both, an array of 2.25 times the image's size is
written and read twice, which on CPU takes longer than the products that it saves. What is then left, per point, is a
library convolution over the rows of taps, or a matrix product for the kernel gradient. `ops.conv` calls this and has
the derivative rules.

The points are 0, ±sqrt(1/2), ±sqrt(2) and infinity. In float32, the root mean square of rounding errors is 1.5 to 2.3
times that of the plain lowering (docs/performance.md); with ±1 and ±2 in place of the roots, that of the forward pass
was 2.2 to 3.2 times.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

Pads = tuple[tuple[int, int], tuple[int, int]]
Weights = tuple[float, ...] | list[float] | jax.Array

OUTPUTS, TAPS = 4, 3
HALVES = 2
"""Parts of the points whose kernel gradients are computed one after the other."""
LEAST_CHANNELS, LEAST_COLUMNS = 64, 8
"""Least channels on both sides, and least columns of the result, for `pays`: the smallest that were measured."""
_A, _B = math.sqrt(0.5), math.sqrt(2.0)
IMAGE = (  # row: values at a point, from six neighbouring columns
    (1.0, 0.0, -2.5, 0.0, 1.0, 0.0),
    (0.0, 4 / 3 * _A, 4 / 3, -2 / 3 * _A, -2 / 3, 0.0),
    (0.0, -4 / 3 * _A, 4 / 3, 2 / 3 * _A, -2 / 3, 0.0),
    (0.0, -1 / 6 * _B, -1 / 6, 1 / 3 * _B, 1 / 3, 0.0),
    (0.0, 1 / 6 * _B, -1 / 6, -1 / 3 * _B, 1 / 3, 0.0),
    (0.0, 1.0, 0.0, -2.5, 0.0, 1.0),
)
KERNEL = ((1.0, 0.0, 0.0), (1.0, _A, 0.5), (1.0, -_A, 0.5), (0.5, _A, 1.0), (0.5, -_A, 1.0), (0.0, 0.0, 1.0))
RESULT = (  # row: what a point contributes to four neighbouring outputs
    (1.0, 0.0, 0.0, 0.0),
    (1.0, _A, 0.5, _A / 2),
    (1.0, -_A, 0.5, -_A / 2),
    (1.0, _B, 2.0, 2 * _B),
    (1.0, -_B, 2.0, -2 * _B),
    (0.0, 0.0, 0.0, 1.0),
)


def pays(columns: int, kernel: tuple[int, ...], dtype: jnp.dtype) -> bool:
    """Return whether this is used on CPU, for `columns` of outputs and a kernel of shape [kh, kw, c_in, c_out].

    Only in float32: shorter types would lose digits, and float64 is for exact comparison.
    """
    wide = min(kernel[2:]) >= LEAST_CHANNELS and columns >= LEAST_COLUMNS
    return wide and kernel[1] == TAPS and dtype == jnp.float32


@functools.partial(jax.jit, static_argnums=2)  # traced once per shape
def correlate(x: jax.Array, w: jax.Array, padding: Pads) -> jax.Array:
    """Correlate an image with a kernel.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, 3, c_in, c_out], same dtype as `x`.
        padding: ((top, bottom), (left, right)) zeros; negative crops.

    Returns:
        float[n, h + pads - kh + 1, w + pads - 2, c_out].
    """
    columns = x.shape[2] + sum(padding[1]) - TAPS + 1
    x, tiles = _pad(x, padding, columns)
    shares = []
    for image, kernel, result in zip(IMAGE, KERNEL, RESULT, strict=True):
        taps = _sum([w[:, b : b + 1] for b in range(TAPS)], kernel)
        at_point = jax.lax.conv_general_dilated(
            _tile(x, image, tiles), taps, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        shares.append(at_point[:, :, :, None] * jnp.asarray(result, x.dtype).reshape(1, 1, 1, OUTPUTS, 1))
    y = functools.reduce(jnp.add, shares)
    return y.reshape(*y.shape[:2], tiles * OUTPUTS, y.shape[4])[:, :, :columns]


def turn(w: jax.Array) -> jax.Array:
    """Return float[kh, kw, c_out, c_in], the kernel of the transposed correlation of w, float[kh, kw, c_in, c_out].

    It is written row by row in a loop, else XLA on CPU transposes w anew at each of the six points, even behind an
    `optimization_barrier`: with 256 channels, `correlate` then takes 9.4 instead of 7.3 ms for 8 images of 16x16, and
    4.7 instead of 2.9 ms for 8x8 (on one core; 6.6 and 2.3 ms for a kernel that need not be turned).
    """
    return jax.lax.scan(lambda _, row: (None, row[::-1].swapaxes(1, 2)), None, w)[1][::-1]


@functools.partial(jax.jit, static_argnums=(2, 3))
def kernel_grad(x: jax.Array, g: jax.Array, padding: Pads, rows: int) -> jax.Array:
    """Return float[rows, 3, c_in, c_out]: w[a, b] = sum over r, s of x[r + a - top, s + b - left] g[r, s].

    Per point one matrix product over images and tiles, whose right operand holds the vertical shifts of g next to each
    other as channels. Three points at a time: XLA on CPU would make the operands of all six at once, and a loop over
    single points takes 1.3 to 1.7 times as long.
    """
    x, tiles = _pad(x, padding, g.shape[2])
    g = jax.lax.optimization_barrier(fill(g, (rows - 1, rows - 1), (0, tiles * OUTPUTS - g.shape[2])))

    def product(image, result):
        u = _tile(x, image, tiles)
        v = _sum([g[:, :, i::OUTPUTS] for i in range(OUTPUTS)], result)
        v = jnp.stack([v[:, rows - 1 - a : rows - 1 - a + u.shape[1]] for a in range(rows)], axis=3)
        pair = u.reshape(-1, u.shape[3]), v.reshape(-1, rows * g.shape[3])
        return jax.lax.dot_general(*pair, (((0,), (0,)), ((), ())))

    some = lambda _, points: (None, [product(*point) for point in zip(*points, strict=True)])
    table = (jnp.asarray(part, x.dtype).reshape(HALVES, -1, len(part[0])) for part in (IMAGE, RESULT))
    _, thirds = jax.lax.scan(some, None, tuple(table))
    at_points = [third[half] for half in range(HALVES) for third in thirds]
    taps = [_sum(at_points, [kernel[b] for kernel in KERNEL]) for b in range(TAPS)]
    return jnp.stack(taps).reshape(TAPS, x.shape[3], rows, g.shape[3]).transpose(2, 0, 1, 3)


def _pad(x: jax.Array, padding: Pads, columns: int) -> tuple[jax.Array, int]:
    """Return the padded image with columns for whole tiles of outputs, and their number."""
    tiles = -(-columns // OUTPUTS)
    left, right = padding[1]
    x = fill(x, padding[0], (left, right + tiles * OUTPUTS - columns))
    return jax.lax.optimization_barrier(x), tiles  # else it is padded anew at every point


def _tile(x: jax.Array, weights: Weights, tiles: int) -> jax.Array:
    """Return float[n, h, tiles, c], weighted sums of the six columns that a tile reads."""
    last = (tiles - 1) * OUTPUTS + 1
    return _sum([x[:, :, j : j + last : OUTPUTS] for j in range(len(weights))], weights)


def _sum(parts: list[jax.Array], weights: Weights) -> jax.Array:
    if isinstance(weights, jax.Array):
        return functools.reduce(jnp.add, [part * weights[i] for i, part in enumerate(parts)])
    terms = [part if c == 1 else part * c for part, c in zip(parts, weights, strict=True) if c]
    return functools.reduce(jnp.add, terms)


def fill(x: jax.Array, rows: tuple[int, int] = (0, 0), columns: tuple[int, int] = (0, 0)) -> jax.Array:
    """Return float[n, h + rows, w + columns, c]: zeros before and after both axes; negative numbers crop."""
    if rows == columns == (0, 0):
        return x
    return jax.lax.pad(x, jnp.zeros([], x.dtype), ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))
