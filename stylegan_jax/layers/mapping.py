"""Mapping network (SG1 §2, SG2 App. B): latents and labels to intermediate latents w."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from stylegan_jax.layers.dense import Dense
from stylegan_jax.ops.norm import second_moment_normalize


class Mapping(nn.Module):
    """Normalise z, embed and normalise the label, join them, then fully connected leaky-ReLU layers.

    Attributes:
        w_dim: output size.
        num_layers: fully connected layers.
        label_dim: length of a label; 0: none.
        embed_dim: size of the embedded label; 0: `w_dim`.
        layer_dim: size of the hidden layers; 0: `w_dim`.
        lr_mult: learning-rate multiplier of the fully connected layers (the embedding has 1).
        activation: of the fully connected layers.
        embedding: makes the layer that embeds labels, given its name; None: a dense layer.
    """

    w_dim: int
    num_layers: int
    label_dim: int = 0
    embed_dim: int = 0
    layer_dim: int = 0
    lr_mult: float = 0.01
    activation: str = "lrelu"
    embedding: Callable[..., Any] | None = None

    @nn.compact
    def __call__(self, z: jax.Array | None, cond: jax.Array | None) -> jax.Array:
        """Map latents float[n, z] (or None) and labels float[n, k] (or None) to w float[n, w_dim]."""
        parts = [] if z is None else [second_moment_normalize(z)]
        if self.label_dim:
            if cond is None or cond.shape[-1] != self.label_dim:
                shape = None if cond is None else cond.shape
                raise ValueError(f"labels have shape {shape}; this network needs [n, {self.label_dim}]")
            make = self.embedding or functools.partial(Dense, self.embed_dim or self.w_dim)
            parts.append(second_moment_normalize(make(name="embed")(cond)))
        x = jnp.concatenate(parts, axis=-1)
        for i in range(self.num_layers):
            size = self.w_dim if i == self.num_layers - 1 else (self.layer_dim or self.w_dim)
            x = Dense(size, activation=self.activation, lr_mult=self.lr_mult, name=f"fc{i}")(x)
        return x
