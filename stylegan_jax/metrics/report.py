"""The record of a result: one JSON object, with everything that determined the number."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
from collections.abc import Mapping
from typing import Any

import jax

import stylegan_jax
from stylegan_jax.metrics import detectors
from stylegan_jax.metrics.detectors import FeatureNet
from stylegan_jax.metrics.evaluate import Result
from stylegan_jax.metrics.images import Images


def record(result: Result, nets: Mapping[str, FeatureNet], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as a dict for JSON.

    Args:
        result: the number.
        nets: networks by name.
        about: facts common to all results of a command: model, data, seed.
    """
    known, interval = math.isfinite(result.value), result.interval
    own = {
        "metric": result.name,
        "value": result.value if known else None,
        "interval": list(interval) if interval is not None and all(map(math.isfinite, interval)) else None,
        "seconds": round(result.seconds, 2),
        "counts": result.counts,
        "detector": detectors.record(nets[result.net]) if result.net else None,
    }
    if not known:  # JSON has no name for it
        own["note"] = f"the value is {result.value}"
    elif result.value < 0 and result.name.startswith(("kid", "kd")):
        own["note"] = "an unbiased estimate, which may be below 0 where the sets hardly differ"
    return own | dict(about) | {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def machine() -> dict[str, Any]:
    """Return devices and versions."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "scipy")}
    return {
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "versions": {"stylegan_jax": stylegan_jax.__version__, "python": platform.python_version()} | versions,
    }


def describe(images: Images, path: str) -> dict[str, Any]:
    """Return the description of a set of images."""
    info = images.source.info()
    stored = "x".join(map(str, info.image_shape))
    flips = {"xflip": images.flips[0], "yflip": images.flips[1]}
    known = {"path": path, "name": info.name, "num_images": info.num_images, "stored": stored}
    if info.notes:
        known["notes"] = list(info.notes)
    return known | images.identity | flips
