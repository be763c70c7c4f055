"""Official arrays and ours by the tables of `convert`, for cases of architectures that it reads."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from stylegan_jax import models
from stylegan_jax.base.trees import flatten, put
from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.importer import NAMES
from stylegan_jax.convert.tables import Fixed, Slot, abstract, make_table, paths_of


@functools.cache
def table(config: ModelConfig, net: str) -> dict:
    """Return the table of a network, of a generator without the mean style, which is no variable."""
    tree = dict(abstract(models.build(config), net))
    tree.pop("w_avg", None)
    rules = NAMES[config.arch].discriminator if net == "d" else NAMES[config.arch].generator
    return make_table(tree, rules(config, paths_of(tree)))


def to_ours(config: ModelConfig, net: str, state: dict) -> dict:
    """Return variables from official arrays, every one of which is accounted for."""
    entries, tree = table(config, net), {}
    assert set(state) - {"mapping.w_avg"} == set(entries)
    for name, entry in entries.items():
        if isinstance(entry, Slot):
            put(tree, entry.where, entry.layout.to_ours(state[name]))
    return tree


def check_fixed(config: ModelConfig, net: str, state: dict) -> None:
    """Check the arrays that only official files hold."""
    for name, entry in table(config, net).items():
        if isinstance(entry, Fixed):
            np.testing.assert_allclose(state[name], entry.value, rtol=1e-6)


def to_official(config: ModelConfig, net: str, params: Any) -> dict:
    """Return official arrays of parameters, or of their gradients."""
    flat = flatten({"params": params})
    return {
        name: entry.layout.to_official(flat["/".join(entry.where)])
        for name, entry in table(config, net).items()
        if isinstance(entry, Slot) and entry.where[0] == "params"
    }
