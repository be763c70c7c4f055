"""`TrainState`: everything a run is, as arrays only."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from stylegan_jax import augment
from stylegan_jax.base import rng
from stylegan_jax.base.spec import Variables
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.models import Gan, GanSpec
from stylegan_jax.train import optim, terms


class TrainState(flax.struct.PyTreeNode):
    """The whole state of a run; no keys, no functions.

    Attributes:
        step: int32[], iterations done.
        nimg: int32[], images shown to the discriminator.
        g: generator variables {'params', 'buffers'}.
        d: discriminator variables {'params'}.
        g_ema: moving average of `g['params']`.
        w_avg: float32[w], moving average of the styles.
        pl_mean: float32[], moving average of the path length.
        g_opt: Adam state of the generator.
        d_opt: Adam state of the discriminator.
        augment: strength of the augmentation, and what steers it.
        stats: sums of the reported terms since the last report (`terms`).
    """

    step: jax.Array
    nimg: jax.Array
    g: Variables
    d: Variables
    g_ema: Any
    w_avg: jax.Array
    pl_mean: jax.Array
    g_opt: Any
    d_opt: Any
    augment: augment.Control
    stats: terms.Stats


def g_optimizer(config: ExperimentConfig, spec: GanSpec) -> optim.LazyAdam:
    """Return the generator's optimiser; path length does not depend on the biases of ToRGB."""
    check_frozen(config, spec)
    t = config.train
    frozen = {"none": (), "embed": ("mapping/embed",), "all": ("mapping",)}[t.freeze_mapping]
    interval = config.loss.g_reg_interval if config.loss.pl_weight else 0
    return optim.adam(t.g_lr, t.beta1, t.beta2, t.eps, interval, ("/torgb/bias",), frozen)


def d_optimizer(config: ExperimentConfig, spec: GanSpec) -> optim.LazyAdam:
    """Return the discriminator's optimiser; gradient penalties do not depend on its last bias."""
    check_frozen(config, spec)
    t, layers = config.train, spec.d_layers
    interval = config.loss.d_reg_interval if config.loss.d_reg != "none" else 0  # 0: also where it is part of d_main
    return optim.adam(t.d_lr, t.beta1, t.beta2, t.eps, interval, ("/b4/out/bias",), layers[: t.freeze_d])


def check_frozen(config: ExperimentConfig, spec: GanSpec) -> None:
    """Check what is to be frozen against the model.

    Raises:
        ConfigError: more layers are to be frozen than there are, or an embedding that is not there.
    """
    t = config.train
    if t.freeze_d > len(spec.d_layers):
        raise ConfigError(
            f"config.train.freeze_d is {t.freeze_d}; this discriminator has {len(spec.d_layers)} layers that can be "
            "frozen, from the image on: " + ", ".join(spec.d_layers)
        )
    if t.freeze_mapping == "embed" and not spec.label_dim:
        raise ConfigError(
            "config.train.freeze_mapping is 'embed' and this model has no labels, so no embedding; use 'none' or 'all'"
        )


def create(gan: Gan, config: ExperimentConfig, root_key: jax.Array) -> TrainState:
    """Return the state before the first step; a pure function of the root key."""
    g = gan.init_g(rng.stream(root_key, "init_g"))
    d = gan.init_d(rng.stream(root_key, "init_d"))
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        nimg=jnp.zeros([], jnp.int32),
        g=g,
        d=d,
        g_ema=jax.tree.map(jnp.copy, g["params"]),
        w_avg=jnp.zeros([gan.spec.w_dim]),
        pl_mean=jnp.zeros([]),
        g_opt=g_optimizer(config, gan.spec).init(g["params"]),
        d_opt=d_optimizer(config, gan.spec).init(d["params"]),
        augment=augment.controller.init(config.augment),
        stats=terms.empty(),
    )


def restarted(state: TrainState, gan: Gan, config: ExperimentConfig) -> TrainState:
    """Return the state with both optimisers as they start."""
    g_opt = g_optimizer(config, gan.spec).init(state.g["params"])
    return state.replace(g_opt=g_opt, d_opt=d_optimizer(config, gan.spec).init(state.d["params"]))


def ema_model(state: TrainState) -> dict[str, Any]:
    """Return what sampling needs: {'params', 'buffers', 'w_avg'} of the averaged generator."""
    return {"params": state.g_ema, "buffers": state.g.get("buffers", {}), "w_avg": state.w_avg}
