"""From paths on the command line to sets of images."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan_jax.config import ConfigError, DataConfig, suggest
from stylegan_jax.data import SOURCES, FittedSource, fit_source

_BASE = DataConfig(
    source="zip",
    path="",
    split="train",
    labels="none",
    xflip=False,
    yflip=False,
    subset=0,
    subset_seed=0,
    on_bad_image="error",
    resize_filter="box",
    cache="off",  # every image is read once
    cache_limit_mb=0,
    workers=2,
    synthetic_images=1024,
    synthetic_labels=0,
)
KINDS = {".zip": "zip", ".npy": "memory", ".npz": "memory"}


def data_config(path: str, run: Mapping[str, Any] | None = None) -> DataConfig:
    """Return how to read a path: a folder, a zip, an .npy or .npz, 'tfds:NAME' or 'synthetic:COUNT'.

    Args:
        path: what was given; '': the data of the run.
        run: `config.data` of the run that made the model; labels, flips and resizing are those of its training.

    Raises:
        ConfigError: it is none of these.
    """
    fields = {f.name for f in dataclasses.fields(DataConfig)}
    base = dataclasses.replace(_BASE, **{k: v for k, v in (run or {}).items() if k in fields} | {"cache": "off"})
    if not path:
        return base
    base = dataclasses.replace(base, path=path, subset=0)
    name, _, rest = path.partition(":")
    if name == "tfds" and rest:
        return dataclasses.replace(base, source="tfds", path=rest)
    if name == "synthetic" and rest.isdigit():
        return dataclasses.replace(base, source="synthetic", synthetic_images=int(rest))
    kind = "folder" if os.path.isdir(path) else KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{path}: neither a folder that exists nor the name of a zip, npy or npz; give one of them, or tfds:NAME"
        )
    return dataclasses.replace(base, source=kind)


def run_data(model: str) -> dict[str, Any] | None:
    """Return `config.data` of the run in a folder; None when it is no run."""
    try:
        return json.loads((Path(model) / "config.json").read_text())["data"]
    except (OSError, ValueError, KeyError):
        return None


def open_images(data: DataConfig, shape: tuple[int, int, int] | None, channels: int) -> FittedSource:
    """Open images at the size of a model, or at their own.

    Args:
        data: where they are.
        shape: (h, w, c) of the model; None: as they are stored.
        channels: without a model, 1 or 3.

    Raises:
        ConfigError, DataError: as `data.open_source`.
    """
    if data.source not in SOURCES:
        raise ConfigError(f"data source {data.source!r}: {suggest(data.source, SOURCES)}")
    source = SOURCES[data.source](data, shape or (64, 64, channels))  # the size matters to made-up images only
    try:
        return fit_source(source, data, shape or source.info().image_shape)
    except BaseException:
        source.close()
        raise
