"""The latent discriminator, which tells single styles of the generator from an encoder's (Tov et al. 2021, §4.1.2)."""

from __future__ import annotations

from typing import Any

import jax

from stylegan_jax.base.spec import Variables
from stylegan_jax.layers.initial import draw, layer

HIDDEN = 3
SLOPE = 0.2


def init(key: jax.Array, w_dim: int) -> Variables:
    """Return {'params'} of three hidden layers of width `w_dim` and a layer to a logit, drawn as PyTorch does."""
    hidden = {f"fc{k}": layer((w_dim, w_dim), w_dim) for k in range(HIDDEN)}
    return {"params": draw(key, hidden | {f"fc{HIDDEN}": layer((w_dim, 1), w_dim)})}


def judge(params: Any, w: jax.Array) -> jax.Array:
    """Return logits float[n] of styles float[n, w]; high for styles of the generator."""
    for k in range(HIDDEN):
        w = jax.nn.leaky_relu(w @ params[f"fc{k}"]["weight"] + params[f"fc{k}"]["bias"][None], SLOPE)
    out = params[f"fc{HIDDEN}"]
    return (w @ out["weight"] + out["bias"][None])[:, 0]
