"""What may differ between a checkpoint and the command that resumes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Keys that may differ between a checkpoint and the command that resumes it; all others decide what is computed.
RESUMABLE_KEYS = (
    "name",
    "train.total_kimg",
    "train.init_from",
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


# Keys that came after the first checkpoints were written -> the value that leaves everything as it was before.
ADDED: dict[str, Any] = {
    "model.grows": False,
    "model.stylegan1.use_styles": True,
    "model.stylegan1.const_input": True,
    "model.stylegan1.use_pixel_norm": False,
    "model.stylegan1.use_instance_norm": True,
    "model.stylegan1.blur_filter": (1.0, 2.0, 1.0),
    "loss.drift_weight": 0.0,
    "growing.start": 0,
    "growing.train_kimg": 600.0,
    "growing.fade_kimg": 600.0,
    "growing.batch_sizes": (),
    "growing.learning_rates": (),
    "growing.reset_moments": True,
    "eval.metrics": "",
    "eval.ticks": 50,
    "eval.num_images": 0,
    "eval.features": "",
    "eval.features_path": "",
    "eval.batch": 16,
    "eval.cache": "auto",
}


def completed(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a stored `to_dict` tree with the keys that were added since; `prefix` ('model.') is where it stood."""
    out = {
        key: completed(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value for key, value in tree.items()
    }
    for name, value in ADDED.items():
        if name.startswith(prefix):
            key, _, rest = name[len(prefix) :].partition(".")
            if not rest:
                out.setdefault(key, value)
            elif key not in out:
                out[key] = completed({}, f"{prefix}{key}.")
    return out


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {'a.b.c': value} of nested dicts."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def resume_conflicts(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Compare two `to_dict` trees; return (lines of changes that forbid a resume, lines of harmless changes)."""
    old, new = flatten(completed(saved)), flatten(completed(now))
    bad, fine = [], []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if a == b or (isinstance(a, list | tuple) and isinstance(b, list | tuple) and list(a) == list(b)):
            continue
        harmless = any(key == k or (k.endswith(".") and key.startswith(k)) for k in RESUMABLE_KEYS)
        (fine if harmless else bad).append(f"{key}: {a!r} -> {b!r}")
    return bad, fine
