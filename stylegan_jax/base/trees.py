"""Trees of arrays: their names, and digests of what they hold. The digests are stored in files: they may not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def flatten(tree: Mapping[str, Any], separator: str = "/") -> dict[str, Any]:
    """Return the leaves of nested dicts under 'a/b/c' keys."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= {f"{key}{separator}{path}": leaf for path, leaf in flatten(value, separator).items()}
        else:
            out[str(key)] = value
    return out


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts from 'a/b/c' keys; the inverse of `flatten`.

    Raises:
        ValueError: a name is both a leaf and a branch.
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


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of any tree by name, such as 'opt/g/0/mu/dense/w', in tree order."""
    import jax  # reading files needs no JAX

    return {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in jax.tree.leaves_with_path(tree)}


def digest_of(tree: Any, config: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits of a tree of arrays (names, shapes, types, bytes) and of a plain dict."""
    import jax

    digest = hashlib.sha256(json_bytes(config))
    for path, leaf in jax.tree.leaves_with_path(tree):
        x = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}".encode())
        digest.update(array_bytes(x))
    return digest.hexdigest()[:32]


def array_bytes(array: Any) -> memoryview:
    """Return the bytes of an array of numbers in C order, including types that NumPy's buffers lack (bfloat16)."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def json_bytes(value: Any) -> bytes:
    """Return plain data as JSON with sorted keys, the input of digests."""
    return json.dumps(value, sort_keys=True).encode()
