"""EQ-T and EQ-R: how well a generator commutes with movements of its canvas, in dB (SG3 App. E).

The generator draws once without and once with a transform; the first image is moved with an ideal band-limited
operator, and the two are compared where that operator is exact. The operators apply one move to the whole batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import backend, rng
from stylegan_jax.base.spec import Variables
from stylegan_jax.config import suggest
from stylegan_jax.models import Gan
from stylegan_jax.ops import fir
from stylegan_jax.sampling.drawing import draw, map_styles

KINDS = ("eqt_int", "eqt_frac", "eqr")
"""EQ-T by whole pixels, EQ-T by any distance, EQ-R."""
TRANSLATE_MAX = 0.125
"""Largest translation, as a share of the width and of the height."""
LOBES = 3
"""Size of the Lanczos windows (a in SG3 App. E)."""

Generate = Callable[[jax.Array, jax.Array], jax.Array]
"""(key, transform float[3, 3]) -> images float[n, h, w, c]; latents, labels and noise depend only on the key."""


class Moves(NamedTuple):
    """The moves of a batch.

    Attributes:
        whole: float[2], translation (x, y) by whole pixels, as shares of width and height.
        part: float[2], translation by any distance, in the same unit.
        angle: float[], radians.
    """

    whole: jax.Array
    part: jax.Array
    angle: jax.Array


def draw_moves(key: jax.Array, height: int, width: int) -> Moves:
    """Draw moves: translations uniform in ±`TRANSLATE_MAX`, angles uniform over the circle."""
    size = jnp.array([width, height])
    first, second, third = jax.random.split(key, 3)
    draw = lambda key: jax.random.uniform(key, (2,), minval=-TRANSLATE_MAX, maxval=TRANSLATE_MAX)
    angle = jax.random.uniform(third, minval=-math.pi, maxval=math.pi)
    return Moves(jnp.round(draw(first) * size) / size, draw(second), angle)


def equivariance(
    generate: Generate, root_key: jax.Array, *, num_images: int = 50_000, batch: int = 4, kinds: Sequence[str] = KINDS
) -> dict[str, float]:
    """Return the PSNR in dB of each kind of equivariance.

    Args:
        generate: the generator; its images are about in [-1, 1].
        root_key: determines all latents and moves.
        num_images: images to compare, in whole batches.
        batch: images that a call of `generate` draws.
        kinds: of `KINDS`.

    Raises:
        ValueError: there are no images, or a kind does not exist.
    """
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; it must be at least 1")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}: {suggest(kind, KINDS)}")

    @jax.jit
    def step(key):
        latents, moves = jax.random.split(key)
        shape = jax.eval_shape(generate, latents, jnp.eye(3)).shape
        if shape[0] != batch:
            raise ValueError(f"generate draws {shape[0]} images per call, and batch is {batch}; pass the same number")
        return errors(lambda t: generate(latents, t), draw_moves(moves, *shape[1:3]), shape, kinds)

    total: dict[str, np.ndarray] = {}
    for i in range(-(-num_images // batch)):
        sums = jax.device_get(step(rng.stream(root_key, "equivariance", i)))
        total = {k: total.get(k, np.zeros(2)) + np.asarray(v, np.float64) for k, v in sums.items()}
    return {kind: psnr(*total[kind]) for kind in kinds}


def from_gan(gan: Gan, variables: Variables, batch: int = 4, label: jax.Array | None = None) -> Generate:
    """Return the `Generate` of a model.

    The papers measure in float32: build `gan` with compute_dtype='float32' on GPU and TPU.

    Args:
        gan: the model.
        variables: variables of its generator.
        batch: images per call.
        label: float[m, k], from which each image draws a label; None without labels.

    Raises:
        ValueError: the architecture cannot transform its output, or labels are missing.
    """
    if gan.with_transform is None:
        raise ValueError("this architecture cannot translate or rotate its output; equivariance needs one that can")
    if gan.spec.label_dim and label is None:
        raise ValueError(f"this model has labels of length {gan.spec.label_dim}; pass some as float[m, k]")

    def generate(key, transform):
        latents, labels, noise = jax.random.split(key, 3)
        z = jax.random.normal(latents, (batch, gan.spec.z_dim))
        cond = jnp.zeros((batch, 0)) if label is None else jax.random.choice(labels, label, (batch,))
        ws = map_styles(gan, variables, None, z, cond)
        return draw(gan, variables, ws, noise="random", key=noise, transform=transform)

    return generate


def psnr(error: float, weight: float) -> float:
    """Return 10 log10(range^2 / mean squared error) for images in [-1, 1]."""
    return float(20 * np.log10(2) - 10 * np.log10(error / weight))


def errors(
    draw: Callable[[jax.Array], jax.Array], moves: Moves, shape: tuple[int, ...], kinds: Sequence[str] = KINDS
) -> Mapping[str, jax.Array]:
    """Return {kind: [sum of squared errors inside the mask, number of values inside]}.

    Args:
        draw: transform float[3, 3] -> images float[n, h, w, c] of fixed latents.
        moves: the moves.
        shape: (n, h, w, c) of the images.
        kinds: of `KINDS`.
    """
    height, width = shape[1:3]
    aspect = jnp.array([width / height, 1])  # transforms are in units of the height
    inverse = {
        "eqt_int": lambda: _shift(-moves.whole * aspect),
        "eqt_frac": lambda: _shift(-moves.part * aspect),
        "eqr": lambda: rotation_matrix(-moves.angle),
    }
    transforms = jnp.stack([jnp.eye(3), *(inverse[kind]() for kind in kinds)])
    plain, *moved = jax.lax.map(draw, transforms)  # one program for all
    return compare(plain, dict(zip(kinds, moved, strict=True)), moves)


def compare(plain: jax.Array, moved: Mapping[str, jax.Array], moves: Moves) -> Mapping[str, jax.Array]:
    """Return the sums of `errors` for images that are already drawn.

    Args:
        plain: float[n, h, w, c], drawn without a transform.
        moved: {kind: float[n, h, w, c]}, drawn with the transform of that kind.
        moves: the moves.
    """
    sums = {}
    for kind, image in moved.items():
        if kind == "eqr":
            want, mask = rotate(plain, moves.angle)
            image, mask_too = pseudo_rotate(image, moves.angle)
            mask = mask * mask_too
        else:
            want, mask = translate_whole(plain, *moves.whole) if kind == "eqt_int" else translate(plain, *moves.part)
        error = jnp.sum(jnp.square(want - image) * mask[None, :, :, None])
        sums[kind] = jnp.stack([error, jnp.sum(mask) * plain.shape[0] * plain.shape[3]])
    return sums


def rotation_matrix(angle: jax.Array) -> jax.Array:
    """Return float[3, 3]: counter-clockwise by `angle` in the picture as seen, x to the right and y down."""
    cos, sin, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    return jnp.array([[cos, sin, zero], [-sin, cos, zero], [zero, zero, zero + 1]])


def _shift(t: jax.Array) -> jax.Array:
    return jnp.eye(3).at[:2, 2].set(t)


def translate_whole(x: jax.Array, tx: jax.Array, ty: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Move images by the nearest whole number of pixels (SG3 App. E.1).

    Args:
        x: float[n, h, w, c].
        tx: float[], share of the width, to the right.
        ty: float[], share of the height, down.

    Returns:
        (images float[n, h, w, c], 0 outside the mask; mask float[h, w], 1 where the source covers a pixel).
    """
    _, h, w, _ = x.shape
    steps = [jnp.round(ty * h).astype(int), jnp.round(tx * w).astype(int)]
    inside = [_within(size, jnp.maximum(s, 0), size + jnp.minimum(s, 0)) for size, s in zip((h, w), steps, strict=True)]
    mask = (inside[0][:, None] & inside[1][None]).astype(x.dtype)
    return jnp.roll(x, jnp.stack(steps), axis=(1, 2)) * mask[None, :, :, None], mask


def _within(size: int, first: jax.Array, end: jax.Array) -> jax.Array:
    at = jnp.arange(size)
    return (at >= first) & (at < end)


def translate(x: jax.Array, tx: jax.Array, ty: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Move images by any distance with a Lanczos filter (SG3 App. E.2); as `translate_whole`."""
    known = []
    for axis, t in ((1, ty), (2, tx)):
        size = x.shape[axis]
        distance = backend.stored(t * size, t < 100)
        whole = jnp.floor(distance)
        taps = jnp.arange(2 * LOBES) - (LOBES - 1) - (distance - whole)
        f = jnp.sinc(taps) * jnp.sinc(taps / LOBES)
        f = (f / f.sum()).astype(x.dtype)
        step = whole.astype(int)
        x = _filter_and_move(x, f, step, axis)
        known.append(_within(size, jnp.maximum(step + LOBES, 0), size + jnp.minimum(step - LOBES + 1, 0)))
    return x, (known[0][:, None] & known[1][None]).astype(x.dtype)


def _filter_and_move(x: jax.Array, f: jax.Array, step: jax.Array, axis: int) -> jax.Array:
    """Convolve an axis with f, whose centre is tap LOBES - 1, and move it by whole samples; zeros beyond the edge."""
    size, before = x.shape[axis], LOBES - 1
    f, pads = (
        (f[:, None], (0, 0, 2 * LOBES - 1, 2 * LOBES - 1)) if axis == 1 else (f[None], (2 * LOBES - 1,) * 2 + (0, 0))
    )
    y = fir.upfirdn2d(x, f, padding=pads)  # sample i of the whole is at i + before
    y = jnp.pad(y, [(size, size) if a == axis else (0, 0) for a in range(4)])
    return jax.lax.dynamic_slice_in_dim(y, size + before - step, size, axis)


def _sinc_window(x: jax.Array, lobes: int) -> jax.Array:
    return jnp.where(jnp.abs(x) < lobes, jnp.sinc(x / lobes), 0)


def bandlimit_filter(matrix: jax.Array, up: int, *, extent: int = 2 * LOBES, period: int = 64) -> jax.Array:
    """Return a windowed low-pass filter for the band that the original and the moved grid share (SG3 App. E.3).

    It is the convolution of the two grids' ideal filters, times the convolution of their Lanczos windows; both over a
    period long enough not to wrap around.

    Args:
        matrix: float[2, 2], linear part of the move.
        up: taps per pixel.
        extent: half the length kept, in pixels.
        period: half the period, in pixels.

    Returns:
        float[f, f], f = 2 * extent * up - 1; every phase of the upsampling sums to 1 / up^2.
    """
    taps = (jnp.arange(2 * period * up - 1) + 1) / up - period
    taps = jnp.roll(taps.astype(matrix.dtype), 1 - period * up)  # 0 first, as the transform wants it
    y, x = taps[:, None], taps[None]
    xo = matrix[0, 0] * x + matrix[0, 1] * y
    yo = matrix[1, 0] * x + matrix[1, 1] * y
    join = lambda a, b: jnp.fft.ifft2(jnp.fft.fft2(a) * jnp.fft.fft2(b)).real
    window = functools.partial(_sinc_window, lobes=LOBES)
    f = join(jnp.sinc(x) * jnp.sinc(y), jnp.sinc(xo) * jnp.sinc(yo))
    f = f * join(window(x) * window(y), window(xo) * window(yo))
    cut = (period - extent) * up
    f = jnp.roll(f, [period * up - 1] * 2, axis=(0, 1))[cut:-cut, cut:-cut]
    f = jnp.pad(f, ((0, 1), (0, 1))).reshape(2 * extent, up, 2 * extent, up)
    f = f / f.sum(axis=(0, 2), keepdims=True) / up**2
    return f.reshape(2 * extent * up, 2 * extent * up)[:-1, :-1]


def rotate(x: jax.Array, angle: jax.Array, up: int = 4) -> tuple[jax.Array, jax.Array]:
    """Rotate images about their centre, band-limited (SG3 App. E.3).

    Args:
        x: float[n, h, w, c].
        angle: float[], radians, as in `rotation_matrix`.
        up: enlargement before the samples are read with linear interpolation.

    Returns:
        (images float[n, h, w, c]; mask float[h, w], 1 where the filter sees only source pixels).
    """
    _, h, w, _ = x.shape
    matrix = rotation_matrix(jnp.asarray(angle, x.dtype))[:2, :2]
    f = bandlimit_filter(matrix, up)
    reach = f.shape[0] // 2
    y = fir.upsample2d(x, f, up=up, padding=reach)
    px, py = jnp.arange(w)[None] + 0.5 - w / 2, jnp.arange(h)[:, None] + 0.5 - h / 2
    at = lambda axis, size: (matrix[0, axis] * px + matrix[1, axis] * py + size / 2) * up + reach  # inverse: transpose
    at_x, at_y = (backend.stored(at(*of).astype(x.dtype), matrix[0, 0] < 100) for of in ((0, w), (1, h)))
    read = lambda plane: jax.scipy.ndimage.map_coordinates(plane, [at_y, at_x], order=1, cval=0.0)
    out = jax.vmap(jax.vmap(read, in_axes=2, out_axes=2))(y)
    edge = 2 * reach + 1
    known = [
        (jnp.round(at) >= edge) & (jnp.round(at) < size - edge) for at, size in ((at_x, y.shape[2]), (at_y, y.shape[1]))
    ]
    return out, (known[0] & known[1]).astype(x.dtype)


def pseudo_rotate(x: jax.Array, angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Band-limit images that were drawn rotated as `rotate` band-limits the reference; nothing moves."""
    matrix = rotation_matrix(-jnp.asarray(angle, x.dtype))[:2, :2]
    f = bandlimit_filter(matrix, 1)
    edge = f.shape[0] // 2
    known = [_within(size, jnp.array(edge), jnp.array(size - edge)) for size in x.shape[1:3]]
    return fir.filter2d(x, f), (known[0][:, None] & known[1][None]).astype(x.dtype)
