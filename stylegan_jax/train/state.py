"""`TrainState`: the whole state of a run, as arrays only."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax

from stylegan_jax.base.spec import Tree, Variables
from stylegan_jax.train import terms


class TrainState(flax.struct.PyTreeNode):
    """The whole state of a run; no keys, no functions, no frozen networks.

    Attributes:
        step: int32[], iterations done.
        nimg: int32[], images shown.
        nets: variables of every network by name ('g' and 'd' of a GAN), all collections.
        opt: optimiser state of every network that is trained.
        ema: moving averages of parameters, by network, and those of `config.train.posthoc_ema` ('power0', …).
        moving: other values that are updated, by name ('w_avg', 'pl_mean' and 'augment' of a GAN).
        stats: sums of the reported terms since the last report (`terms`).
    """

    step: jax.Array
    nimg: jax.Array
    nets: dict[str, Variables]
    opt: dict[str, Tree]
    ema: dict[str, Tree]
    moving: dict[str, Any]
    stats: terms.Stats
