"""The one door to convolution; its lowering may differ by platform and shape (design decision 8).

Images are [n, h, w, c], kernels [kh, kw, c_in, c_out]. On CPU the library's convolution is fast forward and slow in its
gradients, so there `conv2d` carries rules that write the input gradient as another forward convolution and the kernel
gradient as kh*kw shifted matrix products. Their pieces are again these functions, so every order of derivative works;
only forward-mode differentiation needs `lowering='library'`. Strided and transposed convolutions are rewritten as
convolutions at stride 1 between images and blocks of pixels, so that neither they nor their gradients ever touch
inserted zeros.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from stylegan_jax.ops import fir

Pads = tuple[tuple[int, int], tuple[int, int]]
LOWERINGS = ("library", "shifted")


def conv2d(
    x: jax.Array, w: jax.Array, *, padding: Pads = ((0, 0), (0, 0)), groups: int = 1, lowering: str | None = None
) -> jax.Array:
    """Correlate an image with a kernel at stride 1.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in / groups, c_out], same dtype as `x`.
        padding: ((top, bottom), (left, right)) zeros; negative crops.
        groups: channel groups.
        lowering: one of `LOWERINGS`; by default 'shifted' on CPU and 'library' elsewhere.

    Returns:
        float[n, h + pads - kh + 1, w + pads - kw + 1, c_out].
    """
    if lowering is None:
        lowering = "shifted" if jax.default_backend() == "cpu" else "library"
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering is {lowering!r}; known: {', '.join(LOWERINGS)}")
    if w.shape[:2] == (1, 1) and groups == 1 and padding == ((0, 0), (0, 0)):
        return jnp.einsum("nhwi,io->nhwo", x, w[0, 0])
    if groups > 1 or lowering == "library":
        return _library(x, w, padding, groups)
    return _conv(x, w, padding)


def _library(x: jax.Array, w: jax.Array, padding: Pads, groups: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: jax.Array, w: jax.Array, padding: Pads) -> jax.Array:
    return _library(x, w, padding)


def _input_grad(g: jax.Array, w: jax.Array, padding: Pads) -> jax.Array:
    """Gradient with respect to x: correlation of g with the kernel turned around, channels exchanged."""
    kh, kw = w.shape[:2]
    (top, bottom), (left, right) = padding
    pads = ((kh - 1 - top, kh - 1 - bottom), (kw - 1 - left, kw - 1 - right))
    return _conv(g, w[::-1, ::-1].swapaxes(2, 3), pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_grad(x: jax.Array, g: jax.Array, padding: Pads, kernel: tuple[int, int]) -> jax.Array:
    """Gradient with respect to w: one matrix product per kernel tap, over images and positions."""
    x = jax.lax.pad(x, jnp.zeros([], x.dtype), ((0, 0, 0), (*padding[0], 0), (*padding[1], 0), (0, 0, 0)))
    h, w = g.shape[1:3]
    taps = [
        jnp.einsum("nhwi,nhwo->io", x[:, a : a + h, b : b + w], g) for a in range(kernel[0]) for b in range(kernel[1])
    ]
    return jnp.stack(taps).reshape(*kernel, x.shape[3], g.shape[3])


def _conv_forward(x, w, padding):
    return _conv(x, w, padding), (x, w)


def _conv_backward(padding, saved, g):
    x, w = saved
    return _input_grad(g, w, padding), _kernel_grad(x, g, padding, w.shape[:2])


def _kernel_grad_forward(x, g, padding, kernel):
    return _kernel_grad(x, g, padding, kernel), (x, g)


def _kernel_grad_backward(padding, kernel, saved, v):
    x, g = saved
    return _input_grad(g, v, padding), _conv(x, v, padding)


_conv.defvjp(_conv_forward, _conv_backward)
_kernel_grad.defvjp(_kernel_grad_forward, _kernel_grad_backward)


def conv2d_strided(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """Correlate without padding and keep every `stride`-th output.

    Written as a convolution at stride 1 over stride x stride blocks of pixels, so that its gradients are too.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in, c_out].
        stride: step in both axes.

    Returns:
        float[n, (h - kh) // stride + 1, (w - kw) // stride + 1, c_out].
    """
    n, h, wd, c_in = x.shape
    kh, kw, _, c_out = w.shape
    bh, bw = -(-kh // stride), -(-kw // stride)  # the kernel in blocks
    oh, ow = (h - kh) // stride + 1, (wd - kw) // stride + 1
    rows, columns = (oh + bh - 1) * stride, (ow + bw - 1) * stride
    x = jax.lax.pad(x, jnp.zeros([], x.dtype), ((0, 0, 0), (0, rows - h, 0), (0, columns - wd, 0), (0, 0, 0)))
    x = x.reshape(n, rows // stride, stride, columns // stride, stride, c_in)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows // stride, columns // stride, stride**2 * c_in)
    w = jnp.pad(w, ((0, bh * stride - kh), (0, bw * stride - kw), (0, 0), (0, 0)))
    w = w.reshape(bh, stride, bw, stride, c_in, c_out).transpose(0, 2, 1, 3, 4, 5)
    return conv2d(x, w.reshape(bh, bw, stride**2 * c_in, c_out))


def conv2d_transposed(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """Scatter every input sample through the kernel: out[stride*i + a] += x[i] w[a] in both axes.

    It equals inserting stride - 1 zeros after each sample and convolving (true convolution, full size). Written as a
    convolution at stride 1 whose output channels are the stride x stride phases of the result.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in, c_out].
        stride: growth of both axes.

    Returns:
        float[n, (h - 1) * stride + kh, (w - 1) * stride + kw, c_out].
    """
    n, h, wd, c_in = x.shape
    kh, kw, _, c_out = w.shape
    bh, bw = -(-kh // stride), -(-kw // stride)
    w = jnp.pad(w, ((0, bh * stride - kh), (0, bw * stride - kw), (0, 0), (0, 0)))
    w = w.reshape(bh, stride, bw, stride, c_in, c_out)[::-1, :, ::-1]
    w = w.transpose(0, 2, 4, 1, 3, 5).reshape(bh, bw, c_in, stride**2 * c_out)
    y = conv2d(x, w, padding=((bh - 1, bh - 1), (bw - 1, bw - 1)))
    y = y.reshape(n, h + bh - 1, wd + bw - 1, stride, stride, c_out).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(n, (h + bh - 1) * stride, (wd + bw - 1) * stride, c_out)
    return y[:, : (h - 1) * stride + kh, : (wd - 1) * stride + kw]


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
    """Upsample, convolve and downsample, in the cheapest equal order (SG2 App. B).

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
        return conv2d_strided(x, w, down) if groups == 1 else conv2d(x, w, groups=groups)[:, ::down, ::down]
    if up == 1:
        return conv2d(x, w, padding=((y0, y1), (x0, x1)), groups=groups)
    if groups == 1 and kh >= up and kw >= up:
        pads = (x0 - (kw - 1), x1 - (kw - up), y0 - (kh - 1), y1 - (kh - up))
        x = resample(conv2d_transposed(x, w[::-1, ::-1], up), padding=pads, gain=up**2)
    else:
        x = conv2d(resample(x, up=up, padding=pads, gain=up**2), w, groups=groups)
    return resample(x, down=down) if down > 1 else x
