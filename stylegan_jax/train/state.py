"""`TrainState`: the whole state of a run, as arrays only."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax

from stylegan_jax.base.spec import Tree, Variables
from stylegan_jax.train import terms


class TrainState(flax.struct.PyTreeNode):
    """The whole state of a run, without random keys, functions and frozen networks.

    Attributes:
        step: int32[], iterations done.
        nimg: int32[], images shown.
        nets: variables, in all collections, of every network by name (of a GAN, 'g' and 'd').
        opt: optimiser state of every trained network, by the same name.
        ema: moving averages of parameters, by network, and those of `config.train.posthoc_ema` ('power0', …).
        moving: other values that training updates, by name (of a GAN, 'w_avg', 'pl_mean', 'augment').
        stats: sums of the reported terms since the last report (`terms`).
    """

    step: jax.Array
    nimg: jax.Array
    nets: dict[str, Variables]
    opt: dict[str, Tree]
    ema: dict[str, Tree]
    moving: dict[str, Any]
    stats: terms.Stats
