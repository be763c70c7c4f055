"""OmegaConf's trees of settings in a pickle, read as plain values; the package itself is not needed.

A node holds a value, or a list or dict of nodes, and its parent, so a branch contains its whole tree. A value may refer
to another key (`${model.generator.w_dim}`). References are looked up in that tree; one without a target remains text.
"""

from __future__ import annotations

import re
from typing import Any

from stylegan_jax.inert.standins import Record

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_MAX_STEPS = 40
"""Limit of a look-up: parents, keys on the way, and references met there."""


def is_node(value: Any) -> bool:
    """Return whether a value is a node of a tree of settings."""
    is_theirs = isinstance(value, Record) and value.cls.startswith("omegaconf.") and type(value.state) is dict
    return is_theirs and not value.state.keys().isdisjoint(("_content", "_val"))


def held(node: Record) -> Any:
    """Return the content of a node: a value, or a dict or list of nodes; for a reference, its target."""
    value = _own(node)
    return _look_up(node, value) if refers(value) else value


def refers(value: Any) -> bool:
    """Return whether a value is a reference to another key, and nothing else."""
    return type(value) is str and len(value) < 1000 and _REFERENCE.fullmatch(value) is not None


def _own(value: Any) -> Any:
    if not is_node(value):
        return value
    return value.state["_content"] if "_content" in value.state else value.state["_val"]


def _look_up(node: Record, reference: str) -> Any:
    """Return the target of a reference, or the reference if it has no target, is circular, or is too long."""
    top = node
    for _ in range(_MAX_STEPS):
        above = top.state.get("_parent")
        top = above if is_node(above) else top
    value: Any = top
    keys = reference[2:-1].split(".")
    for _ in range(_MAX_STEPS):
        inside = _own(value)
        if refers(inside):
            keys, value = [*inside[2:-1].split("."), *keys], top
        elif not keys:
            return inside
        elif type(inside) is dict and keys[0] in inside:
            value = inside[keys.pop(0)]
        else:
            break
        if len(keys) > _MAX_STEPS:
            break
    return reference
