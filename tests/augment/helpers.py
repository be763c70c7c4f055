"""Configurations for the tests."""

from __future__ import annotations

from configs import common
from stylegan_jax.config import AugmentConfig, from_dict


def configure(mode: str = "ada", ops: dict | None = None, diff: dict | None = None, **changes) -> AugmentConfig:
    """Return the published settings with changes; `ops` replaces the pipe's operations, `diff` are DiffAugment's."""
    tree = common.get_config()
    tree.data.source = "synthetic"
    tree.augment.mode = mode
    tree.augment.update(changes)
    tree.augment.diffaugment.update(diff or {})
    if ops is not None:
        tree.augment.ops.update({name: float(ops.get(name, 0.0)) for name in tree.augment.ops})
    return from_dict(tree).augment
