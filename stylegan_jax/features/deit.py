"""DeiT, distilled vision transformers with patches of 16 (Touvron et al. 2021, arXiv:2012.12877): base and small.

They have a distillation token besides the class token; a class's score is the mean of both heads. Images are resized to
224x224 bilinearly, with half-pixel centres and without smoothing, as in StyleGAN-XL.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers, vit
from stylegan_jax.features.network import FeatureError, Network, Params, Tensors, check, full_precision
from stylegan_jax.features.vgg import MEAN, STD

SIZE, PATCH, CLASSES = 224, 16, 1000
TAPS = (2, 5, 8, 11)
"""Blocks whose output `stages` returns."""
HEADS = ("head", "head_dist")
"""Classifiers of the class token and of the distillation token."""
WIDTHS = {"deit_base": 768, "deit_small": 384}


def shapes(
    width: int = 768, depth: int = 12, grid: int = SIZE // PATCH, classes: int = CLASSES
) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a published file; the default is DeiT-B distilled."""
    out = vit.shapes(("cls_token", "dist_token"), width, depth, grid, PATCH)
    for head in HEADS:
        out |= {f"{head}.weight": (classes, width), f"{head}.bias": (classes,)}
    return out


def canonical(tensors: Tensors) -> Tensors:
    """Return tensors without the prefix of published files, which are dicts with the key 'model'."""
    return {name.removeprefix("model."): x for name, x in tensors.items()}


def convert(tensors: Tensors, width: int | None = None) -> Params:
    """Return the parameters from tensors as in `shapes`.

    Raises:
        FeatureError: the tensors are not those of a distilled DeiT of this width (None: any).
    """
    positions = tensors.get("pos_embed", np.zeros((0, 0, width or vit.HEAD)))
    found = positions.shape[-1]
    if width and found != width:
        raise FeatureError(f"the width is {found}; this network has {width}, so it is another size of DeiT")
    grid = math.isqrt(max(positions.shape[1] - 2, 0))
    classes = len(tensors.get("head.weight", np.zeros(CLASSES)))
    check(tensors, shapes(found, max(vit.depth_of(tensors), 1), grid, classes))
    tokens = np.concatenate([tensors["cls_token"][0], tensors["dist_token"][0]])
    params = vit.params_of(tensors) | {
        "tokens": np.float32(tokens + positions[0, :2]),
        "positions": np.float32(positions[0, 2:].reshape(grid, grid, found)),
    }
    return params | {head: layers.conv_layer(tensors[f"{head}.weight"], tensors[f"{head}.bias"]) for head in HEADS}


def _blocks(params: Params, x: jax.Array, head: int) -> list[jax.Array]:
    """Return the tokens float[n, 2 + t, d] after each block, of normalised images float[n, h, w, 3]."""
    n, rows, columns = x.shape[0], x.shape[1] // PATCH, x.shape[2] // PATCH
    patches = x.reshape(n, rows, PATCH, columns, PATCH, 3)
    patches = jnp.einsum("nyaxbc,abcd->nyxd", patches, params["patch"]["kernel"])
    positions = layers.resize_centred(params["positions"][None], (rows, columns))
    patches = patches + positions + params["patch"]["bias"][None, None, None]
    return vit.blocks(params, patches.reshape(n, rows * columns, -1), head)


def stages(params: Params, x: jax.Array, *, head: int = vit.HEAD) -> list[jax.Array]:
    """Return the patches after the blocks of `TAPS` as four maps.

    Args:
        params: of `convert`.
        x: float[n, h, w, 3], normalised by `vgg.MEAN` and `vgg.STD` (ImageNet's); sides divisible by 16.
        head: channels of an attention head.

    Returns:
        Four float[n, h / 16, w / 16, d], before the last normalisation.
    """
    rows, columns = x.shape[1] // PATCH, x.shape[2] // PATCH
    blocks = _blocks(params, x, head)
    return [blocks[k][:, len(params["tokens"]) :].reshape(len(x), rows, columns, -1) for k in TAPS]


def classify(params: Params, x: jax.Array, *, head: int = vit.HEAD) -> jax.Array:
    """Return the logits float[n, classes] of images as in `stages`."""
    return _scores(params, vit.layer_norm(_blocks(params, x, head)[-1], params["norm"]))


def _scores(params: Params, tokens: jax.Array) -> jax.Array:
    scores = [layers.dense(tokens[:, i], params[name]) for i, name in enumerate(HEADS)]
    return jnp.stack(scores).mean(axis=0)


@full_precision
def apply(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
    """Run the network.

    Args:
        params: of `convert`.
        images: float[n, h, w, 3] in [0, 255], any size.
        outputs: any of 'cls', float32[n, d], the normalised class token, and 'probs', float32[n, 1000].

    Returns:
        {output: float32[n, k]}.
    """
    x = layers.resize_centred(layers.normalise(images, MEAN, STD), (SIZE, SIZE))
    tokens = vit.layer_norm(_blocks(params, x, vit.HEAD)[-1], params["norm"])
    out = {"cls": tokens[:, 0], "probs": jax.nn.softmax(_scores(params, tokens))}
    return {name: out[name] for name in outputs}


NETWORKS = {
    name: Network(
        shapes=functools.partial(shapes, width),
        canonical=canonical,
        convert=functools.partial(convert, width=width),
        apply=apply,
        outputs=lambda params: {"cls": params["positions"].shape[-1], "probs": params["head"]["kernel"].shape[1]},
    )
    for name, width in WIDTHS.items()
}
