"""The rates of an encoder: its stage, and the blocks that this stage trains."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.config.encoder_training import EncoderTrainingConfig
from stylegan_jax.encoders import Encoder
from stylegan_jax.encoders.encoder import FINE, MIDDLE
from stylegan_jax.train.task import Rates

D_BETA2 = 0.999


def stage_at(t: EncoderTrainingConfig, num_ws: int, nimg: Any) -> jax.Array:
    """Return int32[], the last style slot whose offset is trained after `nimg` images."""
    later = (nimg - round(t.progressive_start_kimg * 1000)) // round(t.progressive_step_kimg * 1000)
    return jnp.clip(later + 1, 0, num_ws - 1).astype(jnp.int32)


def rates_at(encoder: Encoder, t: EncoderTrainingConfig, nimg: Any) -> Rates:
    """Return the rates of an iteration; `nimg` images were shown before it."""
    return rates_of(encoder, t, stage_at(t, encoder.spec.num_ws, nimg) if t.is_progressive else None)


def rates_of(encoder: Encoder, t: EncoderTrainingConfig, stage: jax.Array | None) -> Rates:
    """Return the rates of a stage (None: all slots are in training).

    With a stage, the encoder's learning rate is a tree, which is 0 for blocks that the stage does not use.
    """
    beta2 = {"e": 0.0, "d": D_BETA2}  # Ranger ignores it
    if stage is None:
        return Rates({"e": t.lr, "d": t.d_lr}, beta2)
    tree: dict[str, Any] = {"body": t.lr}
    for name, first in first_stages(encoder).items():
        group, _, block = name.partition("/")
        tree.setdefault(group, {})[block] = jnp.where(stage >= first, t.lr, 0.0)
    return Rates({"e": tree, "d": t.d_lr}, beta2, stage=stage)


@functools.lru_cache(maxsize=16)
def first_stages(encoder: Encoder) -> dict[str, int]:
    """Return the first stage that uses each block of the encoder, by path, such as 'styles/style3'.

    The offset of slot i begins at stage i; each map of the pyramid begins with the first slot that reads it.
    """
    params = jax.eval_shape(encoder.init, jax.random.key(0))["params"]
    spec, maps = encoder.spec, sorted(int(name.removeprefix("map")) for name in params.get("lateral", ()))
    first = maps[-1] - spec.level(spec.num_ws - 1) if maps else 0  # the map that the coarsest slots read
    begin = {1: MIDDLE, 2: FINE}
    laterals = {f"lateral/map{k}": begin.get(k - first, 0) for k in maps}
    return laterals | {f"styles/{name}": int(name.removeprefix("style")) for name in params["styles"]}
