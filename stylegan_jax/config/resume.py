"""Which keys may differ between a checkpoint and the command that resumes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stylegan_jax.base.trees import flatten
from stylegan_jax.config.fields import ExperimentConfig
from stylegan_jax.config.older import renewed

# Keys, or groups that end in a dot, that may differ when a run resumes; all others determine what is computed.
RESUMABLE_KEYS = (
    "name",
    "train.total_kimg",
    "train.init_from",
    "train.init_step",
    "train.class_table",
    "train.reload_stem",
    "train.num_devices",
    "train.grad_accum",
    "train.on_nan",
    "train.max_rollbacks",
    "train.early_stop_kimg",
    "train.compilation_cache",
    "model.remat_from",
    "data.path",
    "data.cache",
    "data.cache_limit_mb",
    "data.workers",
    "mesh.",
    "distributed.",
    "log.",
    "eval.",
)


def completed(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored `to_dict` tree, with defaults for keys that did not exist when it was written."""
    return _overlay(ExperimentConfig().to_dict(), renewed(saved))


def _overlay(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    inner = lambda old, new: _overlay(old, new) if isinstance(old, Mapping) and isinstance(new, Mapping) else new
    return {**tree, **{key: inner(tree.get(key), value) for key, value in changes.items()}}


def resume_conflicts(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Compare two `to_dict` trees; return (changes that prevent resuming, harmless changes), one line each."""
    old, new = (flatten(completed(x), ".") for x in (saved, now))
    bad, fine = [], []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if a == b or (isinstance(a, list | tuple) and isinstance(b, list | tuple) and list(a) == list(b)):
            continue
        harmless = any(key == k or (k.endswith(".") and key.startswith(k)) for k in RESUMABLE_KEYS)
        (fine if harmless else bad).append(f"{key}: {a!r} -> {b!r}")
    return bad, fine
