"""Sets of images from paths on the command line."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan_jax.base import bundled
from stylegan_jax.config import ConfigError, DataConfig, suggest
from stylegan_jax.data import SOURCES, FittedSource, errors, fit_source
from stylegan_jax.metrics.errors import MetricError

_BASE = DataConfig(cache="off", cache_limit_mb=0)  # every image is read once
KINDS = {".zip": "zip", ".npy": "memory", ".npz": "memory"}


def data_config(path: str, run: Mapping[str, Any] | None = None, *, videos: bool = False) -> DataConfig:
    """Return the configuration for a path: a folder, a zip, an .npy or .npz, 'tfds:NAME' or 'synthetic:COUNT'.

    Args:
        path: the user's path; '': the data of the run.
        run: `config.data` of the run that made the model; labels, flips and resizing are those of its training, but
            not its subset.
        videos: folders and zips contain videos; if not, the frames in them are images.

    Raises:
        ConfigError: it is none of these.
    """
    fields = {f.name for f in dataclasses.fields(DataConfig)}
    base = dataclasses.replace(_BASE, **{k: v for k, v in (run or {}).items() if k in fields} | {"cache": "off"})
    base = dataclasses.replace(base, subset=0)  # metrics compare with all images, as officially
    if not path:
        return base
    base = dataclasses.replace(base, path=path)
    name, _, rest = path.partition(":")
    if name == "tfds" and rest:
        return dataclasses.replace(base, source="tfds", path=rest)
    if name == "synthetic" and rest.isascii() and rest.isdecimal() and len(rest) < 10:
        return dataclasses.replace(base, source="synthetic", synthetic_images=int(rest))
    kind = "folder" if os.path.isdir(path) else KINDS.get(Path(path).suffix.lower()) or _kind_of(path)
    if kind is None:
        raise ConfigError(
            f"{path}: neither a folder that exists nor the name of a zip, npy or npz; pass one of them, or tfds:NAME"
        )
    return dataclasses.replace(base, source="video" if videos and kind in ("folder", "zip") else kind)


def _kind_of(path: str) -> str | None:
    """Return 'zip' for a file that begins like one, whatever its name."""
    try:
        with open(path, "rb") as file:
            return "zip" if file.read(4) == b"PK\3\4" else None
    except OSError:
        return None


def whole(source: FittedSource) -> FittedSource:
    """Undo a source's subset. The result shares the source's files; do not close it."""
    return FittedSource(source.inner, source.size, source.resize_filter, None, "off")


def run_data(model: str) -> dict[str, Any] | None:
    """Return `config.data` of the run in a folder, or of the run recorded in a model folder; None for others."""
    try:
        return json.loads((Path(bundled.find_model(model)) / "config.json").read_text())["data"]
    except (OSError, ValueError, KeyError):
        return None


def open_images(data: DataConfig, shape: tuple[int, int, int] | None, channels: int) -> FittedSource:
    """Open images at the size of a model, or at their own.

    Args:
        data: their place and settings.
        shape: (h, w, c) of the model; None: as they are stored.
        channels: without a model, 1 or 3.

    Raises:
        ConfigError, DataError: as `data.open_source`.
    """
    if data.source not in SOURCES:
        raise ConfigError(f"data source {data.source!r}: {suggest(data.source, SOURCES)}")
    source = SOURCES[data.source](data, shape or (64, 64, channels))  # the size matters only to synthetic images
    try:
        return fit_source(source, data, shape or source.info().image_shape)
    except BaseException:
        source.close()
        raise


def explain(error: Exception, option: str, path: str) -> MetricError:
    """Return an error of the data in the words of this command: it names the option instead of configuration keys."""
    text = errors.explain(error, option, path)
    return MetricError(text if path else f"the data of the run (pass {option} to use others): {text}")
