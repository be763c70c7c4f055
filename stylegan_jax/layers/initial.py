"""Arrays to be drawn: trees of them, and how PyTorch's layers start by default."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import jax

from stylegan_jax.base import rng


class Initial(NamedTuple):
    """An array to be drawn.

    Attributes:
        shape: of the array.
        kind: uniform in [-1, 1], or normal.
        scale: factor.
    """

    shape: tuple[int, ...]
    kind: str = "normal"
    scale: float = 1.0


def draw(key: jax.Array, tree: Any) -> Any:
    """Return nested dicts with `Initial` leaves drawn, others as they are.

    All of one distribution are cut from one draw: a program of a hundred small draws takes long to compile.
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=lambda leaf: isinstance(leaf, Initial))
    out = list(leaves)
    for name in ("uniform", "normal"):
        places = [i for i, x in enumerate(leaves) if isinstance(x, Initial) and x.kind == name]
        ends = list(itertools.accumulate(math.prod(leaves[i].shape) for i in places))
        own, total = rng.stream(key, name), ends[-1] if ends else 0
        drawn = jax.random.uniform(own, (total,), minval=-1) if name == "uniform" else jax.random.normal(own, (total,))
        for i, end in zip(places, ends, strict=True):
            shape, _, scale = leaves[i]
            x = jax.lax.slice(drawn, (end - math.prod(shape),), (end,)).reshape(shape)
            out[i] = scale * x
    return jax.tree.unflatten(structure, out)


def uniform(shape: tuple[int, ...], fan_in: int) -> Initial:
    """Return an array as PyTorch's layers draw it by default, uniformly in ±1 / sqrt(fan_in)."""
    return Initial(shape, "uniform", 1 / math.sqrt(fan_in))


def layer(shape: tuple[int, ...], fan_in: int) -> dict[str, Initial]:
    """Return a convolution or dense layer as PyTorch draws it by default, with a bias."""
    return {"weight": uniform(shape, fan_in), "bias": uniform(shape[-1:], fan_in)}
