"""E-LPIPS (Kettunen, Harkonen and Lehtinen 2019, arXiv:1906.03973): LPIPS averaged over random transformations.

Both images of a pair are transformed alike and passed to VGG16 with average pooling and dropout. Its layers are the
normalised image and the outputs of all 13 convolutions; their weights were trained for this ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from stylegan_jax.features import layers, vgg
from stylegan_jax.features.network import FeatureError, FeatureNet, Params, Tensors, check, digest

LEVELS = 8
"""Factors of downscaling, for images of at least 512; smaller ones have fewer (`levels_for`)."""
OFFSET_MAX = 7
KEEP = 0.99
"""Share of values that dropout keeps before every convolution."""
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPS = 1e-10
CONVOLUTIONS = [step for step in vgg.VGG16 if isinstance(step, vgg.Conv)]
POOLED = (2, 4, 7, 10)
"""Convolutions whose input is averaged over 2x2 pixels."""
PERMUTATIONS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])


class Draw(NamedTuple):
    """A transformation of n images; both images of a pair get the same.

    Attributes:
        level: factor of downscaling, of all images; a Python int, as it decides shapes.
        scale_offset: int[2], down and right, in [0, level).
        offsets: int[n, 2] in [0, 7].
        flips: int[n]: 0 left and right, 1 up and down, 2 both, 3 none.
        transposed: whether all images are transposed; a Python bool.
        permutations: int[n, 3]: the channel that each channel comes from.
        colours: float[n, 3], factors in [0.2, 1].
    """

    level: int
    scale_offset: jax.typing.ArrayLike
    offsets: jax.typing.ArrayLike
    flips: jax.typing.ArrayLike
    transposed: bool
    permutations: jax.typing.ArrayLike
    colours: jax.typing.ArrayLike


def levels_for(height: int, width: int) -> int:
    """Return how many levels suit images of a size, as the authors recommend: one per 64 pixels."""
    return min(LEVELS, max(1, min(height, width) // 64))


def level_probabilities(levels: int) -> np.ndarray:
    """Return float64[levels]: level k has the weight 1 / k^2."""
    weights = 1 / np.arange(1, levels + 1, dtype=np.float64) ** 2
    return weights / weights.sum()


def level_of(u: npt.ArrayLike, levels: int) -> np.ndarray:
    """Return the levels of float[…] uniform in [0, 1)."""
    ends = np.cumsum(1 / np.arange(1, levels + 1, dtype=np.float64) ** 2)
    return np.minimum(np.searchsorted(ends, np.asarray(u, np.float64) * ends[-1], side="right"), levels - 1) + 1


def spread_colours(u: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return factors float[n, 3], stratified over n images, of u, float[3, n] in [0, 1), and an order int[3, n]."""
    n = u.shape[1]
    strata = (u + np.arange(n)) / n
    return (0.2 + 0.8 * np.take_along_axis(strata, order, axis=1)).T


def spread(choices: np.ndarray, n: int, order: np.ndarray) -> np.ndarray:
    """Return n choices, all equally often, in the order int[m] of the next multiple m of their number."""
    return choices[order % len(choices)][:n]


def draw_shared(rng: np.random.Generator, levels: int) -> tuple[int, np.ndarray, bool]:
    """Draw the fields of a `Draw` that all images of a batch share: `level`, `scale_offset` and `transposed`."""
    level = int(level_of(rng.random(), levels))
    return level, rng.integers(0, level, 2), bool(rng.integers(2))


def draw_own(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Draw the other fields of a `Draw` for n copies of an image, over which all but the offsets are stratified."""
    orders = [rng.permutation(-(-n // k) * k) for k in (4, len(PERMUTATIONS))]
    colours = rng.permuted(np.tile(np.arange(n), (3, 1)), axis=1)
    return {
        "offsets": rng.integers(0, OFFSET_MAX + 1, (n, 2)),
        "flips": spread(np.arange(4), n, orders[0]),
        "permutations": spread(PERMUTATIONS, n, orders[1]),
        "colours": spread_colours(rng.random((3, n)), colours),
    }


def transform(x: jax.Array, drawn: Draw, crop: bool = False) -> jax.Array:
    """Transform images.

    Args:
        x: float[n, h, w, 3] in [0, 1].
        drawn: the transformation.
        crop: cut off the border that the authors' slower way fills by reflection (their `fast_and_approximate`).

    Returns:
        float[n, h', w', 3] in [0, 1]; without `crop`, 7 pixels larger than the downscaled image.
    """
    n, level, offset = len(x), drawn.level, jnp.asarray(drawn.scale_offset)
    if level > 1:
        for axis in (1, 2):
            x = _downscaled(x, axis, level, offset[axis - 1], crop)
    rows, columns = (_shifted(x.shape[axis], jnp.asarray(drawn.offsets)[:, axis - 1], crop) for axis in (1, 2))
    flips = jnp.asarray(drawn.flips)[:, None]
    rows = jnp.where((flips == 1) | (flips == 2), rows[:, ::-1], rows)
    columns = jnp.where((flips == 0) | (flips == 2), columns[:, ::-1], columns)
    x = x[jnp.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if drawn.transposed:
        x = x.transpose(0, 2, 1, 3)
    x = jnp.take_along_axis(x, jnp.asarray(drawn.permutations)[:, None, None, :], axis=3)
    return x * jnp.asarray(drawn.colours, x.dtype)[:, None, None, :]


def _downscaled(x: jax.Array, axis: int, level: int, offset: jax.Array, crop: bool) -> jax.Array:
    """Return means of `level` neighbours along an axis."""
    size = x.shape[axis]
    count = (size - level + 1) // level if crop else (2 * (level - 1) + size) // level
    at = jnp.arange(count * level) + (offset if crop else -offset)
    x = x.take(_reflected(at, size), axis=axis)
    shape = (*x.shape[:axis], count, level, *x.shape[axis + 1 :])
    return x.reshape(shape).mean(axis + 1)


def _shifted(size: int, offsets: jax.Array, crop: bool) -> jax.Array:
    """Return indices int[n, size +- 7] of images that are moved by offsets int[n]."""
    if crop:
        return jnp.arange(size - OFFSET_MAX) + offsets[:, None]
    return _reflected(jnp.arange(size + OFFSET_MAX) - (OFFSET_MAX - offsets[:, None]), size)


def _reflected(at: jax.Array, size: int) -> jax.Array:
    """Return positions in [0, size) of any positions, reflected at the ends, which are not repeated."""
    period = max(2 * (size - 1), 1)
    at = at % period
    return jnp.minimum(at, period - at) if size > 1 else jnp.zeros_like(at)


def masks(key: jax.Array, size: tuple[int, int], n: int) -> list[jax.Array]:
    """Draw which values dropout keeps: bool[n, h, w, c] before each convolution, for images of a size."""
    out, (height, width), channels = [], size, 3
    for k, step in enumerate(CONVOLUTIONS):
        if k in POOLED:
            height, width = height // 2, width // 2
        out.append(jax.random.bernoulli(jax.random.fold_in(key, k), KEEP, (n, height, width, channels)))
        channels = step.channels
    return out


def distance(params: Params, image: jax.Array, reference: jax.Array, keep: Sequence[jax.Array] = ()) -> jax.Array:
    """Compare pairs of transformed images.

    Args:
        params: of `convert`.
        image: float[n, h, w, 3] in [0, 1].
        reference: the same.
        keep: masks before each convolution, as `masks` draws them; both images share them. None: no dropout.

    Returns:
        float[n], at least 0.
    """
    with jax.default_matmul_precision("highest"):
        return _distance(params, image, reference, keep)


def _distance(params: Params, image: jax.Array, reference: jax.Array, keep: Sequence[jax.Array]) -> jax.Array:
    total = jnp.zeros((), image.dtype)
    pair = [(2 * x - 1 - jnp.asarray(MEAN, x.dtype)) / jnp.asarray(STD, x.dtype) for x in (image, reference)]
    for k in range(len(CONVOLUTIONS) + 1):
        if k:
            step = CONVOLUTIONS[k - 1]
            pair = [_convolved(params, x, k - 1, step.index, keep[k - 1] if keep else None) for x in pair]
        a, b = (_unit(x) for x in pair)
        total = total + (jnp.square(a - b).mean(axis=(1, 2)) * params[f"lin{k}"]["weight"]).sum(axis=1)
    return total


def _convolved(params: Params, x: jax.Array, number: int, index: int, keep: jax.Array | None) -> jax.Array:
    if number in POOLED:
        h, w = (size // 2 * 2 for size in x.shape[1:3])
        x = x[:, :h, :w].reshape(len(x), h // 2, 2, w // 2, 2, -1).mean(axis=(2, 4))
    if keep is not None:
        x = x * keep.astype(x.dtype) / KEEP
    return jax.nn.relu(layers.conv(x, params[f"features.{index}"], padding=((1, 1), (1, 1))))


def _unit(x: jax.Array) -> jax.Array:
    """Divide by the norm over channels; if all are 0, so is the gradient."""
    squares = jnp.square(x).sum(axis=-1, keepdims=True)
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return x / (norm + EPS)


def head_shapes(widths: Sequence[int] = ()) -> dict[str, tuple[int, ...]]:
    """Return the tensors of the weights of the layers."""
    widths = widths or [3, *(step.channels for step in CONVOLUTIONS)]
    return {f"lin{k}.model.1.weight": (1, 1, width, 1) for k, width in enumerate(widths)}


def network(vgg16: FeatureNet, heads: Tensors, source: str) -> FeatureNet:
    """Return the network, which `distance` compares pairs with; it has no outputs of single images.

    Args:
        vgg16: 'vgg16_lpips', for its convolutions.
        heads: tensors of the authors' file vgg_full_avg.npy.
        source: where they came from, as text.

    Raises:
        FeatureError: as of `convert`.
    """
    params = convert(vgg16.params, heads)
    return FeatureNet("elpips", {}, params, _pairs_only, digest(params), f"{source}; {vgg16.source}")


def _pairs_only(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    raise FeatureError("E-LPIPS has no features of single images; see features.elpips.distance")


def convert(convolutions: Params, heads: Tensors) -> Params:
    """Return parameters of `distance`.

    Args:
        convolutions: VGG16's, as `vgg16_lpips` has them: {'features.N': layer}.
        heads: tensors of the authors' file vgg_full_avg.npy.

    Raises:
        FeatureError: a tensor is missing or has another shape, or a weight is negative.
    """
    check(heads, head_shapes())
    params = {f"features.{step.index}": convolutions[f"features.{step.index}"] for step in CONVOLUTIONS}
    for name, shape in head_shapes().items():
        weight = np.asarray(heads[name], np.float32).reshape(math.prod(shape))
        if (weight < 0).any():
            raise FeatureError(f"{name} has negative weights, so these are not weights of E-LPIPS")
        params[name.partition(".")[0]] = {"weight": weight}
    return params
