"""The discriminator of StyleGAN-V (Skorokhodov et al. 2022, §3.3): a few frames of a clip and the gaps between them."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_v import gap_count, gap_frequencies
from stylegan_jax.layers.dense import scaled_normal
from stylegan_jax.layers.mapping import Mapping
from stylegan_jax.models.stylegan2 import DiscriminatorBlock, DiscriminatorEpilogue, block_resolutions, channels

TABLE_DIM = 256


class Gaps(nn.Module):
    """Embed the gaps between neighbouring frames: a row of a table, and waves."""

    config: ModelConfig

    @nn.compact
    def __call__(self, times: jax.Array) -> jax.Array:
        """Map times float[n, t] to float[n, d]; a gap is at most max_num_frames - 1 frames."""
        config = self.config
        table = self.param("weight", scaled_normal(1), (config.stylegan_v.max_num_frames, TABLE_DIM))
        gaps = jnp.diff(times, axis=1)[:, : gap_count(config.stylegan_v)]
        row = table.at[jnp.round(gaps).astype(jnp.int32)].get(mode="fill", fill_value=jnp.nan)
        angle = gaps[..., None] * np.asarray(gap_frequencies(config.stylegan_v), np.float32)[None, None]
        each = jnp.concatenate([row, jnp.sin(angle), jnp.cos(angle)], axis=-1)
        return each.reshape(times.shape[0], -1)


class Discriminator(nn.Module):
    """Frames, their times, and a label to one logit: frames are separate down to `concat_res`, then joined as
    channels."""

    config: ModelConfig

    @nn.compact
    def __call__(self, image: jax.Array, times: jax.Array, cond: jax.Array) -> jax.Array:
        """Map images float[n, t, h, w, c], times float[n, t] and labels float[n, k] to logits float32[n, 1]."""
        config, own = self.config, self.config.stylegan_v
        conditional = config.label_dim > 0 or own.frames > 1
        out_dim = (config.cmap_dim or channels(config, 4)) if conditional else 1
        image = image.reshape(-1, *image.shape[2:])
        x: Any = None
        for res in reversed(block_resolutions(config)[1:]):
            if res == own.concat_res and own.frames > 1:
                x = join_frames(x, own.frames)
            out = channels(config, res // 2) // (own.frames_divisor if res == 2 * own.concat_res else 1)
            x, _ = DiscriminatorBlock(config, res, out, name=f"b{res}")(x, image)
        x = DiscriminatorEpilogue(config, out_dim, name="b4")(x, None)
        if not conditional:
            return x
        if own.frames > 1:
            cond = jnp.concatenate([cond, Gaps(config, name="gaps")(times)], axis=1)
        cond = cond * 0 if own.dummy_cond else cond
        lr_mult = config.d_mapping_lr_mult
        mapping = Mapping(out_dim, config.d_mapping_layers, cond.shape[1], lr_mult=lr_mult, name="mapping")
        return jnp.sum(x * mapping(None, cond), axis=1, keepdims=True) / math.sqrt(out_dim)


def join_frames(x: jax.Array, frames: int) -> jax.Array:
    """Turn the frames of a clip into channels, in order: float[n*t, h, w, c] to float[n, h, w, t*c]."""
    rows, h, w, c = x.shape
    x = x.reshape(rows // frames, frames, h, w, c)
    return jnp.moveaxis(x, 1, 3).reshape(rows // frames, h, w, frames * c)
