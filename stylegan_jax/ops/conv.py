"""The only entry to convolutions; their lowering may differ by platform (design decision 8).

Images are [n, h, w, c], kernels [kh, kw, c_in, c_out]. On CPU the library's convolution is fast forward and slow in its
gradients, so there a convolution has derivative rules of its own. Three functions are each other's derivatives:
correlating an image with a kernel, spreading an image through a kernel, and the kernel gradient of both. Their forward
passes are library convolutions without inserted zeros, and one or two matrix products; with `lowering='short'`, wide
ones take half the products where `ops.short.pays` says so. Their rules are again these functions, so every order of
reverse-mode derivative works; only forward mode needs `lowering='library'`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from stylegan_jax.base import backend
from stylegan_jax.ops import fir, grouped, short

Pads = tuple[tuple[int, int], tuple[int, int]]
NO_PADS: Pads = ((0, 0), (0, 0))
LOWERINGS = ("library", "products", "short")
DEFAULT: str | None = None
"""Lowering of calls that name none; None: 'short' on CPU, 'library' elsewhere."""


def conv2d(
    x: jax.Array,
    w: jax.Array,
    *,
    padding: Pads = NO_PADS,
    stride: int = 1,
    groups: int = 1,
    lowering: str | None = None,
) -> jax.Array:
    """Correlate an image with a kernel and keep every `stride`-th output.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in / groups, c_out], same dtype as `x`.
        padding: ((top, bottom), (left, right)) zeros; negative crops.
        stride: step in both axes.
        groups: channel groups.
        lowering: one of `LOWERINGS`; None: `DEFAULT`.

    Returns:
        float[n, (h + pads - kh) // stride + 1, (w + pads - kw) // stride + 1, c_out].
    """
    lowering = _choose(lowering)
    if lowering == "library" and _is_product(w, padding, stride) and groups == 1:
        return jnp.einsum("nhwi,io->nhwo", x, w[0, 0])
    if lowering == "library" or (groups > 1 and stride > 1):
        return _library(x, w, padding, stride, groups)
    if groups > 1:
        return grouped.correlate(x, w, padding, groups)
    return _correlate(x, w, padding, stride, lowering == "short")


def conv2d_transposed(x: jax.Array, w: jax.Array, stride: int, *, lowering: str | None = None) -> jax.Array:
    """Scatter every input sample through the kernel: out[stride*i + a] += x[i] w[a] in both axes.

    This is the same as inserting stride - 1 zeros after each sample and convolving (true convolution, full size).

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in, c_out].
        stride: growth of both axes.
        lowering: one of `LOWERINGS`; None: `DEFAULT`.

    Returns:
        float[n, (h - 1) * stride + kh, (w - 1) * stride + kw, c_out].
    """
    kh, kw = w.shape[:2]
    lowering = _choose(lowering)
    if lowering == "library":
        pads = ((kh - 1, kh - 1), (kw - 1, kw - 1))
        return _library(x, w[::-1, ::-1], pads, dilation=stride)
    size = ((x.shape[1] - 1) * stride + kh, (x.shape[2] - 1) * stride + kw)
    return _spread(x, w.swapaxes(2, 3), NO_PADS, stride, size, lowering == "short")


def _is_product(w: jax.Array, padding: Pads, stride: int) -> bool:
    return w.shape[:2] == (1, 1) and stride == 1 and padding == NO_PADS


def _choose(lowering: str | None) -> str:
    lowering = lowering or DEFAULT
    if lowering is None:
        return "short" if backend.platform() == "cpu" else "library"
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering is {lowering!r}; known: {', '.join(LOWERINGS)}")
    return lowering


def _library(x: jax.Array, w: jax.Array, padding: Pads, stride: int = 1, groups: int = 1, dilation: int = 1):
    return jax.lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        padding,
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _correlate(x: jax.Array, w: jax.Array, padding: Pads, stride: int, is_short: bool) -> jax.Array:
    """y[r] = sum over a of x[stride*r + a - before] w[a], in both axes; `is_short` allows `ops.short`."""
    if _is_product(w, padding, stride):
        return jnp.einsum("nhwi,io->nhwo", x, w[0, 0])
    columns = x.shape[2] + sum(padding[1]) - w.shape[1] + 1
    if is_short and stride == 1 and short.pays(columns, w.shape, x.dtype):
        return short.correlate(x, w, padding)
    return _library(x, w, padding, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _spread(g: jax.Array, w: jax.Array, padding: Pads, stride: int, size: tuple[int, int], is_short: bool) -> jax.Array:
    """x[i] = sum over r, a with stride*r + a - before = i of g[r] w[a]: the transpose of `_correlate` in x.

    Args:
        g: float[n, gh, gw, c_out].
        w: float[kh, kw, c_in, c_out].
        padding: that of the correlation.
        stride: that of the correlation.
        size: (h, w) of the result; every stride-th row and column of it is one convolution with every stride-th tap.
        is_short: as in `_correlate`.

    Returns:
        float[n, *size, c_in].
    """
    (top, _), (left, _) = padding
    if stride == 1:
        return _phase(g, w, (top, left), size, is_short)
    rows, columns = -(-(top + size[0]) // stride), -(-(left + size[1]) // stride)
    phase = lambda a, b: _phase(g, w[a::stride, b::stride], (0, 0), (rows, columns), is_short)
    x = jnp.stack([jnp.stack([phase(a, b) for b in range(stride)], axis=3) for a in range(stride)], axis=2)
    x = x.reshape(x.shape[0], rows * stride, columns * stride, w.shape[2])
    return short.fill(x, (-top, top + size[0] - rows * stride), (-left, left + size[1] - columns * stride))


def _phase(g: jax.Array, w: jax.Array, first: tuple[int, int], size: tuple[int, int], is_short: bool) -> jax.Array:
    """Convolve g with some taps: x[m] = sum over q of g[m - q] w[q], for `size` values of m from `first` on."""
    kh, kw, c_in, _ = w.shape
    if kh == 0 or kw == 0:
        return jnp.zeros((g.shape[0], *size, c_in), g.dtype)
    (top, left), (rows, columns) = first, size
    pads = ((kh - 1 - top, top + rows - g.shape[1]), (kw - 1 - left, left + columns - g.shape[2]))
    is_turned = is_short and short.pays(columns, w.shape, g.dtype)
    w = short.turn(w) if is_turned else w[::-1, ::-1].swapaxes(2, 3)
    return _correlate(g, w, pads, 1, is_short)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _kernel_grad(
    x: jax.Array, g: jax.Array, padding: Pads, stride: int, kernel: tuple[int, int], is_short: bool
) -> jax.Array:
    """w[a] = sum over r of x[stride*r + a - before] g[r]: the transpose of `_correlate` in w.

    One matrix product over images and positions for every `stride`-th row of taps. Its left operand holds the kw
    horizontal shifts of x next to each other as channels, its right operand the vertical shifts of g: block (b, q) of
    the product is the tap (stride*q + row, b). A product per tap would copy a shifted image each time and, at 64
    channels, be too narrow to run well.
    """
    kh, kw = kernel
    (top, _), (left, _) = padding
    gh, gw = g.shape[1:3]
    if is_short and stride == 1 and short.pays(gw, (kh, kw, x.shape[3], g.shape[3]), x.dtype):
        return short.kernel_grad(x, g, padding, kh)
    x = short.fill(x, columns=(left, (gw - 1) * stride + kw - left - x.shape[2]))
    x = jnp.stack([x[:, :, b : b + (gw - 1) * stride + 1 : stride] for b in range(kw)], axis=3)
    taps = []
    for row in range(min(stride, kh)):
        count = -(-(kh - row) // stride)  # taps row, row + stride, …
        first = (row - top) % stride  # of the rows of x that these taps read
        start = (first + top - row) // stride  # x[first] meets g[start - q]
        read = x[:, first::stride]
        steps = read.shape[1]
        moved = short.fill(g, (count - 1 - start, start + steps - gh))
        moved = jnp.stack([moved[:, count - 1 - q : count - 1 - q + steps] for q in range(count)], axis=3)
        pair = read.reshape(-1, kw * x.shape[4]), moved.reshape(-1, count * g.shape[3])
        product = jax.lax.dot_general(*pair, (((0,), (0,)), ((), ())))
        taps.append(product.reshape(kw, x.shape[4], count, g.shape[3]).transpose(2, 0, 1, 3))
    return taps[0] if len(taps) == 1 else jnp.stack([taps[a % stride][a // stride] for a in range(kh)])


def _correlate_backward(padding, stride, is_short, saved, g):
    x, w = saved
    by_image = _spread(g, w, padding, stride, x.shape[1:3], is_short)
    return by_image, _kernel_grad(x, g, padding, stride, w.shape[:2], is_short)


def _spread_backward(padding, stride, size, is_short, saved, v):
    g, w = saved
    by_kernel = _kernel_grad(v, g, padding, stride, w.shape[:2], is_short)
    return _correlate(v, w, padding, stride, is_short), by_kernel


def _kernel_grad_backward(padding, stride, kernel, is_short, saved, v):
    x, g = saved
    by_image = _spread(g, v, padding, stride, x.shape[1:3], is_short)
    return by_image, _correlate(x, v, padding, stride, is_short)


_correlate.defvjp(lambda x, w, *static: (_correlate(x, w, *static), (x, w)), _correlate_backward)
_spread.defvjp(lambda g, w, *static: (_spread(g, w, *static), (g, w)), _spread_backward)
_kernel_grad.defvjp(lambda x, g, *static: (_kernel_grad(x, g, *static), (x, g)), _kernel_grad_backward)


def conv2d_resample(
    x: jax.Array,
    w: jax.Array,
    f: fir.Filter = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: fir.Scale = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> jax.Array:
    """Upsample, convolve and downsample, in the cheapest equivalent order (SG2 App. B).

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in / groups, c_out].
        f: FIR filter of `fir.setup_filter`; None is the identity.
        up: integer enlargement.
        down: integer reduction.
        padding: as in `fir.upfirdn2d`; refers to the upsampled image and is applied once.
        groups: channel groups.
        flip_weight: True correlates (as layers without upsampling do); False is a true convolution.
        flip_filter: correlate with `f`.

    Returns:
        float[n, h * up / down, w * up / down, c_out] when padding is half the kernel.
    """
    fw, fh = fir.filter_size(f)
    x0, x1, y0, y1 = fir.padding4(padding)
    if up > 1:
        x0, x1, y0, y1 = x0 + (fw + up - 1) // 2, x1 + (fw - up) // 2, y0 + (fh + up - 1) // 2, y1 + (fh - up) // 2
    if down > 1:
        x0, x1 = x0 + (fw - down + 1) // 2, x1 + (fw - down) // 2
        y0, y1 = y0 + (fh - down + 1) // 2, y1 + (fh - down) // 2
    resample = functools.partial(fir.upfirdn2d, f=f, flip_filter=flip_filter)
    if not flip_weight:
        w = w[::-1, ::-1]
    kh, kw = w.shape[:2]
    pads = (x0, x1, y0, y1)
    if (kh, kw) == (1, 1) and up == 1 and down > 1:
        return conv2d(resample(x, down=down, padding=pads), w, groups=groups)
    if (kh, kw) == (1, 1) and up > 1 and down == 1:
        return resample(conv2d(x, w, groups=groups), up=up, padding=pads, gain=up**2)
    if up == 1 and down > 1:
        x = resample(x, padding=pads)
        return conv2d(x, w, stride=down, groups=groups)
    if up == 1:
        return conv2d(x, w, padding=((y0, y1), (x0, x1)), groups=groups)
    if groups == 1 and kh >= up and kw >= up:
        pads = (x0 - (kw - 1), x1 - (kw - up), y0 - (kh - 1), y1 - (kh - up))
        x = resample(conv2d_transposed(x, w[::-1, ::-1], up), padding=pads, gain=up**2)
    else:
        x = conv2d(resample(x, up=up, padding=pads, gain=up**2), w, groups=groups)
    return resample(x, down=down) if down > 1 else x
