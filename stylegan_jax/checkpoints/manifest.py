"""The manifest of a checkpoint: what was saved, leaf by leaf, so that every restored byte can be verified.

Orbax restores flipped bits in array data without an error. Each checkpoint therefore holds the SHA-256 of every leaf's
content (not of Orbax's files) and of its own JSON parts; restored leaves are hashed again and compared.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from stylegan_jax.base.errors import StyleganError
from stylegan_jax.base.trees import array_bytes, json_bytes, named_leaves

PyTree = Any

FORMAT = 2
READER = "0.2"
"""The first version of stylegan_jax that reads `FORMAT`; manifests record it, so that older versions can name it."""
_LIBRARIES = ("stylegan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_SHOWN = 3  # leaves named in one message


class CheckpointError(StyleganError):
    """A checkpoint cannot be written or read; the message says what was found, the rule and the fix."""


class DamagedError(CheckpointError):
    """A checkpoint's content is not what was saved."""


class NonFiniteError(CheckpointError):
    """A state to be written holds NaN or infinity."""


def build_manifest(
    step: int, items: Mapping[str, PyTree], meta: Mapping[str, Any], metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Validate and hash what is about to be saved.

    Args:
        step: the checkpoint's step number.
        items: trees of arrays by item name ('state', 'g_ema').
        meta: plain JSON (see `plain_json`).
        metrics: finite numbers by name.

    Returns:
        JSON: format, the first version that reads it, step, items -> leaf name -> {dtype, shape, sha256}, the hash of
        `meta`, metrics, library versions, and the manifest's own hash.

    Raises:
        CheckpointError: a leaf is not a plain, non-empty array, or two leaves share a name.
        NonFiniteError: a floating leaf holds NaN or infinity.
    """
    for item, tree in items.items():
        _check_tree(item, tree)
    manifest = {
        "format": FORMAT,
        "reader": READER,
        "step": step,
        "items": {item: hash_leaves(item, tree, finite=True) for item, tree in items.items()},
        "meta_sha256": _hash_json(meta),
        "metrics": dict(metrics),
        "libraries": _library_versions(),
    }
    return manifest | {"sha256": _hash_json(manifest)}


def check_manifest(manifest: Any, step: int, meta: Any) -> None:
    """Check that a manifest agrees with itself, the directory's step number and the metadata.

    Raises:
        DamagedError: one of them does not match.
        CheckpointError: it was written in a format that this version does not know.
    """
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise DamagedError("its manifest is not one of ours")
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    if _hash_json(body) != manifest["sha256"]:
        raise DamagedError("its manifest does not match its own SHA-256")
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            f"checkpoint format {manifest['format']} is newer than this version reads ({FORMAT}); "
            f"install stylegan_jax {manifest['reader']} or newer"
        )
    if manifest["step"] != step:
        raise DamagedError(f"its manifest belongs to step {manifest['step']}")
    if _hash_json(meta) != manifest["meta_sha256"]:
        raise DamagedError("its metadata does not match the manifest's SHA-256")


def check_target(recorded: Mapping[str, Mapping[str, Any]], target: PyTree, where: str) -> None:
    """Check that a target has the names, shapes and dtypes of the saved leaves.

    Args:
        recorded: the manifest's leaves of one item.
        target: tree of arrays or `jax.ShapeDtypeStruct`.
        where: the checkpoint and item, for the message.

    Raises:
        CheckpointError: they differ; the message names the leaves.
    """
    wanted = {name: (str(np.dtype(leaf.dtype)), tuple(leaf.shape)) for name, leaf in named_leaves(target).items()}
    saved = {name: (leaf["dtype"], tuple(leaf["shape"])) for name, leaf in recorded.items()}
    problems = [f"'{n}' is in the checkpoint but not in this model" for n in saved if n not in wanted]
    problems += [f"'{n}' is in this model but not in the checkpoint" for n in wanted if n not in saved]
    problems += [
        f"'{n}' is saved as {saved[n][0]}{list(saved[n][1])} but this model has {wanted[n][0]}{list(wanted[n][1])}"
        for n in wanted
        if n in saved and wanted[n] != saved[n]
    ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{where} does not fit this configuration: {'; '.join(problems[:_SHOWN])}{more}. "
            "Continue with the configuration that wrote it (it is stored in the checkpoint's metadata), "
            "or start in a new workdir"
        )


def check_content(recorded: Mapping[str, Mapping[str, Any]], item: str, tree: PyTree) -> None:
    """Hash restored leaves and compare them with the manifest.

    Raises:
        DamagedError: a leaf's content differs; the message names the leaves.
    """
    found = hash_leaves(item, tree, finite=False)
    wrong = [name for name, leaf in recorded.items() if found.get(name) != leaf]
    if wrong or len(found) != len(recorded):
        shown = ", ".join(f"'{name}'" for name in wrong[:_SHOWN])
        raise DamagedError(f"{len(wrong)} of {len(recorded)} leaves of '{item}' fail their SHA-256 ({shown})")


def hash_leaves(item: str, tree: PyTree, *, finite: bool) -> dict[str, dict[str, Any]]:
    """Return dtype, shape and content hash of every leaf by name.

    A leaf that is replicated over hosts is hashed from the local copy; a leaf that is split over hosts is gathered
    first, so for a moment every host holds the whole leaf.

    Args:
        item: the tree's name, for messages.
        tree: arrays.
        finite: raise an error on NaN and infinity.

    Raises:
        NonFiniteError: `finite` is set and a floating leaf is not finite.
    """
    # Copies are made one by one, because gathering is a collective; hashing runs in parallel, as it releases the GIL.
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        jobs = {name: pool.submit(_hash_array, host_copy(leaf), finite) for name, leaf in named_leaves(tree).items()}
        entries = {name: job.result() for name, job in jobs.items()}
    bad = [name for name, entry in entries.items() if entry is None]
    if bad:
        shown = ", ".join(f"'{name}'" for name in bad[:_SHOWN])
        raise NonFiniteError(
            f"not saved: {len(bad)} of {len(entries)} leaves of '{item}' hold NaN or infinity ({shown}). "
            "A checkpoint is always finite, so the last one is from before the divergence: resume from it with a "
            "smaller learning rate or stronger regularisation"
        )
    return {name: entry for name, entry in entries.items() if entry is not None}


def host_copy(leaf: jax.Array | np.ndarray) -> np.ndarray:
    """Return an array's global content on this host, without a copy if it is already there."""
    if isinstance(leaf, np.ndarray):
        return leaf
    if leaf.is_fully_replicated:
        # From the shard, because np.asarray(leaf) would keep a host copy alive as long as the leaf.
        return np.asarray(leaf.addressable_data(0))
    if leaf.is_fully_addressable:
        return np.asarray(leaf)
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def plain_json(value: Any, what: str) -> Any:
    """Return `value` as JSON returns it (tuples as lists, keys as strings).

    Raises:
        CheckpointError: it cannot be written as JSON, or holds NaN or infinity.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{what} must be plain JSON (dict, list, str, bool, None, finite numbers): {error}. "
            "Convert arrays with .tolist() or float()"
        ) from error


def _check_tree(item: str, tree: PyTree) -> None:
    """Raise CheckpointError for trees that Orbax rejects only after minutes, or in which two leaves share a name."""
    leaves = named_leaves(tree)
    count = len(jax.tree_util.tree_leaves(tree))
    if not count:
        raise CheckpointError(f"'{item}' has no leaves: pass the tree of arrays to save")
    # Orbax joins the names with dots.
    if len({name.replace("/", ".") for name in leaves}) != count:
        raise CheckpointError(f"two leaves of '{item}' share a name: use keys without '.' and '/'")
    for name, leaf in leaves.items():
        problem = _leaf_problem(leaf)
        if problem:
            raise CheckpointError(f"leaf '{name}' of '{item}' {problem}")


def _leaf_problem(leaf: Any) -> str | None:
    if not isinstance(leaf, jax.Array | np.ndarray):
        return f"is a {type(leaf).__name__}; the state holds arrays only: wrap numbers with jnp.asarray, drop the rest"
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return f"is a typed key ({leaf.dtype}); keys are derived from the step number, never stored: remove it"
    if leaf.dtype.kind in "OSUMm":
        return f"has dtype {leaf.dtype}; only boolean and number arrays can be stored: remove or convert it"
    if leaf.size == 0:
        return f"is empty (shape {list(leaf.shape)}); arrays without elements cannot be stored: remove it"
    if isinstance(leaf, jax.Array) and leaf.is_deleted():
        return "was donated to another computation and no longer has data: save the state that the step returned"
    return None


def _hash_array(array: np.ndarray, finite: bool) -> dict[str, Any] | None:
    """Return the leaf's manifest entry, or None if it must be finite and is not."""
    # dtype.kind does not tell: bfloat16 and the float8 types are of kind 'V'.
    if finite and jnp.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
        return None
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array_bytes(array)).hexdigest(),
    }


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json_bytes(value)).hexdigest()


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # not installed as a package: run from a checkout
            continue
    return versions
