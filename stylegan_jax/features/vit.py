"""The common parts of vision transformers (Dosovitskiy et al. 2021, arXiv:2010.11929): blocks and their tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import layers
from stylegan_jax.features.network import Params, Tensors

EPS = 1e-6
HEAD = 64
"""Channels of an attention head in the published models."""


def depth_of(tensors: Tensors) -> int:
    """Return the number of blocks in a weights file."""
    return len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})


def shapes(tokens: Sequence[str], width: int, depth: int, grid: int, patch: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors that every weights file has.

    Args:
        tokens: names of the tokens that come before the patches and have positions.
        width: channels d.
        depth: number of blocks.
        grid: patches along a side, of the positions.
        patch: pixels along a side of a patch.
    """
    out: dict[str, tuple[int, ...]] = dict.fromkeys(tokens, (1, 1, width))
    out |= {"pos_embed": (1, len(tokens) + grid**2, width)}
    out |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    for k in range(depth):
        out |= block_shapes(f"blocks.{k}", width)
    return out | {"norm.weight": (width,), "norm.bias": (width,)}


def block_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a block."""
    out: dict[str, tuple[int, ...]] = {}
    for part, size, inside in (
        ("attn.qkv", 3 * width, width),
        ("attn.proj", width, width),
        ("mlp.fc1", 4 * width, width),
        ("mlp.fc2", width, 4 * width),
    ):
        out |= {f"{name}.{part}.weight": (size, inside), f"{name}.{part}.bias": (size,)}
    return out | {f"{name}.{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}


def norm_params(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    """Return the parameters of a layer normalisation."""
    return {part: tensors[f"{name}.{part}"].astype(np.float32) for part in ("weight", "bias")}


def block_params(tensors: Tensors, name: str) -> Params:
    """Return a block's layers; a scale after a residual branch, if there is one, is folded into its last layer."""
    params = {short: norm_params(tensors, f"{name}.{short}") for short in ("norm1", "norm2")}
    for part, scale in (("attn.qkv", ""), ("attn.proj", "ls1"), ("mlp.fc1", ""), ("mlp.fc2", "ls2")):
        weight, bias = (tensors[f"{name}.{part}.{which}"].astype(np.float64) for which in ("weight", "bias"))
        if scale and f"{name}.{scale}.gamma" in tensors:
            gamma = tensors[f"{name}.{scale}.gamma"].astype(np.float64)
            weight, bias = weight * gamma[:, None], bias * gamma
        params[part] = layers.conv_layer(weight, bias)
    return params


def params_of(tensors: Tensors) -> Params:
    """Return the layers common to all: patches, the last normalisation and the blocks."""
    patch = layers.conv_layer(tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"])
    params = {"patch": patch, "norm": norm_params(tensors, "norm")}
    return params | {f"block{k}": block_params(tensors, f"blocks.{k}") for k in range(depth_of(tensors))}


def layer_norm(x: jax.Array, norm: layers.Layer) -> jax.Array:
    """Bring every token of float[n, t, d] to mean 0 and deviation 1, then scale and shift."""
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + EPS) * norm["weight"][None, None] + norm["bias"][None, None]


def attention(x: jax.Array, params: Params, head: int = HEAD) -> jax.Array:
    """Return the self-attention of tokens float[n, t, d], with heads of `head` channels."""
    n, tokens, width = x.shape
    q, k, v = jnp.moveaxis(layers.dense(x, params["attn.qkv"]).reshape(n, tokens, 3, width // head, head), 2, 0)
    weights = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(head))
    return layers.dense(jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(n, tokens, width), params["attn.proj"])


def block(x: jax.Array, params: Params, head: int = HEAD) -> jax.Array:
    """Return tokens float[n, t, d] after a block: attention, then an MLP, each behind a normalisation."""
    x = x + attention(layer_norm(x, params["norm1"]), params, head)
    y = jax.nn.gelu(layers.dense(layer_norm(x, params["norm2"]), params["mlp.fc1"]), approximate=False)
    return x + layers.dense(y, params["mlp.fc2"])


def blocks(params: Params, patches: jax.Array, head: int = HEAD) -> list[jax.Array]:
    """Return the tokens float[n, t + p, d] after each block, of the t tokens of `params` and patches float[n, p, d]."""
    leading = jnp.broadcast_to(params["tokens"][None], (len(patches), *params["tokens"].shape))
    x, out = jnp.concatenate([leading.astype(patches.dtype), patches], axis=1), []
    for k in range(sum(name.startswith("block") for name in params)):
        x = block(x, params[f"block{k}"], head)
        out.append(x)
    return out
