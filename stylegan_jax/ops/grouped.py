"""Convolution in channel groups, with fast gradients on CPU; call it through `ops.conv.conv2d`.

On CPU the library's gradients of a grouped convolution are too slow to use: for 12 groups of 16 channels the gradient
takes 80 times as long as the image itself (docs/performance.md). As in `ops.conv`, two functions are each other's
derivatives here, so that every order of reverse-mode derivative works: correlating an image with a kernel, whose
derivative with respect to the image is the same with a turned kernel, and the kernel gradient. Stride 1 only.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from stylegan_jax.ops.short import fill

Pads = tuple[tuple[int, int], tuple[int, int]]

WIDTH = 32
"""Groups are joined into blocks of about this many channels, whose kernels are zero between groups. For groups of 16
that doubles the products, but their matrices are wide enough to run well."""
MOST_BLOCKS = 8
"""More blocks than this cost more to compile than they save."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def correlate(x: jax.Array, w: jax.Array, padding: Pads, groups: int) -> jax.Array:
    """Correlate an image with a kernel, each group of channels with its own.

    Args:
        x: float[n, h, w, c_in].
        w: float[kh, kw, c_in / groups, c_out], same dtype as `x`.
        padding: ((top, bottom), (left, right)) zeros; negative crops.
        groups: channel groups; the outputs of a group are adjacent.

    Returns:
        float[n, h + pads - kh + 1, w + pads - kw + 1, c_out].
    """
    joined = join(x.shape[3], groups)
    blocks = groups // joined
    images = jnp.split(x, blocks, axis=3)
    kernels = jnp.split(_block_diagonal(w, groups, joined), blocks, axis=3)
    parts = [_library(image, kernel, padding) for image, kernel in zip(images, kernels, strict=True)]
    return parts[0] if blocks == 1 else jnp.concatenate(parts, axis=3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def kernel_grad(x: jax.Array, g: jax.Array, padding: Pads, groups: int, size: tuple[int, int]) -> jax.Array:
    """Return float[kh, kw, c_in / groups, c_out]: w[a] = sum over r of x[r + a - before] g[r], group by group.

    One product per tap, batched over the groups.
    """
    (top, _), (left, _) = padding
    n, gh, gw, c_out = g.shape
    rows, columns = gh + size[0] - 1, gw + size[1] - 1
    x = fill(x, (top, rows - top - x.shape[1]), (left, columns - left - x.shape[2]))
    g = g.reshape(n, gh, gw, groups, c_out // groups)
    x = x.reshape(*x.shape[:3], groups, -1)
    taps = [
        jnp.einsum("nhwgi,nhwgo->igo", x[:, a : a + gh, b : b + gw], g) for a in range(size[0]) for b in range(size[1])
    ]
    return jnp.stack(taps).reshape(*size, -1, c_out)


def join(channels: int, groups: int) -> int:
    """Return how many groups make a block: at least `WIDTH` channels in at most `MOST_BLOCKS` blocks, as it divides."""
    width = channels // groups
    fitting = [k for k in range(1, groups + 1) if groups % k == 0]
    return next((k for k in fitting if k * width >= WIDTH and groups // k <= MOST_BLOCKS), groups)


def _block_diagonal(w: jax.Array, groups: int, joined: int) -> jax.Array:
    """Return kernels float[kh, kw, joined * c_in / groups, c_out], zero between the groups of a block."""
    if joined == 1:
        return w
    kh, kw, c_in, c_out = w.shape
    w = w.reshape(kh, kw, 1, c_in, groups // joined, joined, c_out // groups)
    apart = jnp.eye(joined, dtype=w.dtype).reshape(
        1, 1, joined, 1, 1, joined, 1
    )  # [row, column, group in, …, group out, …]
    return (w * apart).reshape(kh, kw, joined * c_in, c_out)


def _turned(w: jax.Array, groups: int) -> jax.Array:
    """Return the kernel of the derivative with respect to the image: mirrored, with a group's inputs and outputs
    exchanged."""
    kh, kw, c_in, c_out = w.shape
    w = w[::-1, ::-1].reshape(kh, kw, c_in, groups, c_out // groups)
    return w.transpose(0, 1, 4, 3, 2).reshape(kh, kw, c_out // groups, groups * c_in)


def _backward_pads(padding: Pads, kernel: tuple[int, ...], image: tuple[int, ...], out: tuple[int, ...]) -> Pads:
    """Return the padding that gives the derivative with respect to the image the size of the image."""
    rows, columns = (
        (k - 1 - before, size + before - o) for (before, _), k, size, o in zip(padding, kernel, image, out, strict=True)
    )
    return rows, columns


def _library(x: jax.Array, w: jax.Array, padding: Pads) -> jax.Array:
    return jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _by_image(g: jax.Array, w: jax.Array, padding: Pads, groups: int, image: tuple[int, ...]) -> jax.Array:
    pads = _backward_pads(padding, w.shape[:2], image, g.shape[1:3])
    return correlate(g, _turned(w, groups), pads, groups)


def _correlate_backward(padding, groups, saved, g):
    x, w = saved
    return _by_image(g, w, padding, groups, x.shape[1:3]), kernel_grad(x, g, padding, groups, w.shape[:2])


def _kernel_grad_backward(padding, groups, size, saved, v):
    x, g = saved
    return _by_image(g, v, padding, groups, x.shape[1:3]), correlate(x, v, padding, groups)


correlate.defvjp(lambda x, w, *static: (correlate(x, w, *static), (x, w)), _correlate_backward)
kernel_grad.defvjp(lambda x, g, *static: (kernel_grad(x, g, *static), (x, g)), _kernel_grad_backward)
