"""Checkpoints of format 1, which version 0.1 wrote: the names of their leaves, and reading a state from them.

Format 2 groups networks, optimisers, averages and other moving state in dicts of their own; the leaves are bit for bit
the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from stylegan_jax.base import trees
from stylegan_jax.base.trees import named_leaves

_FIELDS = {
    "g": "nets/g",
    "d": "nets/d",
    "g_opt": "opt/g",
    "d_opt": "opt/d",
    "g_ema": "ema/g",
    "w_avg": "moving/w_avg",
    "pl_mean": "moving/pl_mean",
    "augment": "moving/augment",
}
"""First part of names in format 1 -> its replacement in format 2; other names are the same."""


def renamed(name: str) -> str:
    """Return the format 2 name of a leaf of a format 1 state."""
    first, slash, rest = name.partition("/")
    return _FIELDS.get(first, first) + slash + rest


def as_format1(target: Any, recorded: Iterable[str]) -> dict[str, Any]:
    """Return the parts of a state of format 2 under the names of format 1.

    Args:
        target: the state; its parts keep their types, because files distinguish dicts from sequences.
        recorded: the names of all leaves in format 1, from the manifest.
    """
    firsts = dict.fromkeys(name.split("/")[0] for name in recorded)
    return {first: _part(target, _FIELDS.get(first, first)) for first in firsts}


def as_format2(tree: Mapping[str, Any], target: Any) -> Any:
    """Return the leaves that were read with `as_format1`, in the structure of `target`."""
    leaves = {renamed(name): leaf for name, leaf in named_leaves(tree).items()}
    return jax.tree.unflatten(jax.tree.structure(target), [leaves[name] for name in named_leaves(target)])


def as_nested(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts of format 1 under the names of format 2."""
    return trees.unflatten({renamed(name): leaf for name, leaf in trees.flatten(tree).items()})


def _part(tree: Any, path: str) -> Any:
    for key in path.split("/"):
        tree = tree[key] if isinstance(tree, Mapping) else getattr(tree, key)
    return tree
