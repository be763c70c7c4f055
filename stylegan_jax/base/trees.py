"""Trees of arrays: their names, and a digest of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts under 'a/b/c' keys."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}/{key}" if prefix else str(key)
        out.update(flatten(value, path) if isinstance(value, Mapping) else {path: value})
    return out


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts from 'a/b/c' keys; the inverse of `flatten`.

    Raises:
        ValueError: one name is a leaf and a branch at once.
    """
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        put(tree, tuple(path.split("/")), value)
    return tree


def put(tree: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    """Set the leaf of nested dicts at a path of keys; missing dicts are created.

    Raises:
        ValueError: the path lies below an array, or already has a leaf.
    """
    node = tree
    for key in where[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ValueError(f"{'/'.join(where)} lies below an array")
    if where[-1] in node:
        raise ValueError(f"{'/'.join(where)} is given twice")
    node[where[-1]] = value


def digest_of(tree: Any, config: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits of a tree of arrays (names, shapes, types, bytes) and of a plain dict."""
    import jax  # reading files needs no JAX

    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for path, leaf in jax.tree.leaves_with_path(tree):
        x = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}".encode() + x.tobytes())
    return digest.hexdigest()[:32]
