"""DINOv2 vision transformers with patches of 14 (Oquab et al. 2023, arXiv:2304.07193), for Fréchet distances in their
class token (Stein et al. 2023, arXiv:2306.04675). Size and depth follow from the weights; with or without registers.

Images are resized to 224x224 with an antialiased cubic filter, as those papers do. The giant model, whose MLPs are
gated, is not covered.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers, vit
from stylegan_jax.features.network import FeatureError, Network, Params, Tensors, check, full_precision
from stylegan_jax.features.vgg import MEAN, STD

SIZE, PATCH = 224, 14
GRID, OFFSET = SIZE // PATCH, 0.1
TRAINED_GRID = 37  # positions of the published files: 518 / 14


def shapes(width: int = 384, depth: int = 12, grid: int = TRAINED_GRID) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a published file; the default is ViT-S/14."""
    scales = {f"blocks.{k}.{scale}.gamma": (width,) for k in range(depth) for scale in ("ls1", "ls2")}
    return vit.shapes(("cls_token",), width, depth, grid, PATCH) | scales


def convert(tensors: Tensors) -> Params:
    """Return the parameters; positions are interpolated to the 16x16 patches of a 224x224 image.

    Raises:
        FeatureError: the tensors are not those of a DINOv2 model with patches of 14 and plain MLPs.
    """
    positions = tensors.get("pos_embed", np.zeros((0, 0)))
    grid = math.isqrt(max(positions.shape[1] - 1, 0)) if positions.ndim == 3 else 0
    width = positions.shape[-1]
    registers = tensors.get("register_tokens")
    expected = shapes(width, max(vit.depth_of(tensors), 1), grid)
    check(tensors, expected | ({} if registers is None else {"register_tokens": (1, *registers.shape[1:2], width)}))
    if width % vit.HEAD:
        raise FeatureError(f"the width is {width}; attention heads of {vit.HEAD} do not divide it")
    tokens = tensors["cls_token"][0] + positions[0, :1]
    if registers is not None:
        tokens = np.concatenate([tokens, registers[0]])
    positions = _interpolated(positions[0, 1:].reshape(grid, grid, width))
    return vit.params_of(tensors) | {"tokens": np.float32(tokens), "positions": positions}


def _interpolated(positions: np.ndarray) -> np.ndarray:
    """Return positions [g, g, d] on the 16x16 grid, by PyTorch's cubic interpolation (a = -0.75).

    The published code passes (16 + 0.1) / g as the scale, so this does too.
    """
    matrix = np.eye(GRID) if len(positions) == GRID else _cubic_matrix(len(positions), GRID, (GRID + OFFSET))
    resized = np.einsum("ag,bh,ghd->abd", matrix, matrix, np.float64(positions))
    return resized.reshape(GRID * GRID, -1).astype(np.float32)


def _cubic_matrix(old: int, new: int, scaled: float) -> np.ndarray:
    """Return float64[new, old] that interpolates along an axis; the step follows from the size `scaled`."""
    a, out = -0.75, np.zeros((new, old))
    for i in range(new):
        at = (i + 0.5) * old / scaled - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            d = abs(at - tap)
            near = ((a + 2) * d - (a + 3)) * d * d + 1
            far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            out[i, min(max(tap, 0), old - 1)] += near if d <= 1 else far
    return out


@full_precision
def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run the network.

    Args:
        params: of `convert`.
        images: float[n, h, w, 3] in [0, 255], any size.
        outputs: ('cls',), float32[n, d], the normalised class token.

    Returns:
        {output: float32[n, k]}.
    """
    n = len(images)
    x = jax.image.resize(images.astype(jnp.float32), (n, SIZE, SIZE, 3), "cubic", antialias=True)
    x = layers.conv(layers.normalise(x, MEAN, STD), params["patch"], stride=PATCH, padding=layers.NO_PADS)
    patches = x.reshape(n, GRID * GRID, -1) + params["positions"][None]
    x = vit.blocks(params, patches)[-1]
    out = {"cls": vit.layer_norm(x, params["norm"])[:, 0]}
    return {name: out[name] for name in outputs}


NETWORK = Network(
    shapes=shapes,
    canonical=lambda tensors: tensors,
    convert=convert,
    apply=apply,
    outputs=lambda params: {"cls": params["positions"].shape[1]},
)
