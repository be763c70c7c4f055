"""The registry of data sources, and `open_source`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from stylegan_jax.base.errors import printable
from stylegan_jax.base.flags import expand_home
from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import ConfigError, DataConfig, check_choice
from stylegan_jax.data import labels
from stylegan_jax.data.fitted import FittedSource, Source, fit_source
from stylegan_jax.data.folder_source import open_folder
from stylegan_jax.data.memory_source import open_memory
from stylegan_jax.data.synthetic_source import open_synthetic
from stylegan_jax.data.tfds_source import open_tfds
from stylegan_jax.data.tiles_source import open_tiles
from stylegan_jax.data.video_source import open_video
from stylegan_jax.data.zip_source import open_zip

SOURCES: dict[str, Callable[[DataConfig, tuple[int, int, int]], Source]] = {
    "zip": open_zip,
    "folder": open_folder,
    "tfds": open_tfds,
    "memory": open_memory,
    "synthetic": open_synthetic,
    "video": open_video,
    "tiles": open_tiles,
}
"""`config.data.source` -> opener(data config, the model's (h, w, c)). A new source is one file and one line here."""


def open_source(data: DataConfig, image_shape: tuple[int, int, int]) -> FittedSource:
    """Open the configured data set, with every check that is possible before the first step.

    Args:
        data: the data group of the config.
        image_shape: the model's (h, w, c).

    Returns:
        A source whose `pixels` have the model's shape; decoded into memory according to `data.cache`.

    Raises:
        ConfigError: the source is unknown, or a key does not fit it.
        DataError: data are missing or damaged, images are bad with on_bad_image='error', or labels are missing.
    """
    check_choice("data.source", data.source, SOURCES)
    if data.labels == "subfolders" and data.source not in ("folder", "zip", "video"):
        raise ConfigError(
            f"config.data.labels='subfolders' needs data.source='folder', 'zip' or 'video', not {data.source!r}"
        )
    if image_shape[2] not in (1, 3, 4):
        raise ConfigError(f"config.model.img_channels is {image_shape[2]}; images have 1, 3 or 4 channels")
    data = dataclasses.replace(data, path=expand_home(data.path))
    source = SOURCES[data.source](data, image_shape)
    try:
        return fit_source(source, data, image_shape)
    except BaseException:
        source.close()
        raise


_LABELS = {
    "classes": "{} classes",
    "multi-hot": "multi-hot labels of length {}",
    "vectors": "label vectors of length {}",
}


def describe_data(data: DataConfig, info: SourceInfo) -> str:
    """Return the line about the data at the start of a run: number of images, subset, mirroring, labels."""
    parts = [printable(info.name), f"{info.num_images} images of {'x'.join(map(str, info.image_shape))}"]
    if info.subset_of:
        parts[1] += f" (random subset of {info.subset_of}, config.data.subset_seed={data.subset_seed})"
    if data.xflip or data.yflip:
        ways = " and ".join(["left to right"] * data.xflip + ["top to bottom"] * data.yflip)
        parts.append(f"mirrored {ways} (x{(1 + data.xflip) * (1 + data.yflip)})")
    if info.label_kind in _LABELS:
        parts.append(_LABELS[info.label_kind].format(info.label_dim))
    if info.skipped:
        parts.append(f"{len(info.skipped)} bad ones skipped")
    return ", ".join(parts)


def describe_contents(info: SourceInfo) -> list[str]:
    """Return the lines below it: number of images in each class, skipped files, and warnings."""
    lines = labels.describe(info.label_kind, info.label_counts, info.label_names, info.num_images)
    return [*lines, *info.notes]
