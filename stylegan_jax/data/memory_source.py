"""Decoded images in one array, from a .npy or .npz file or passed in Python."""

from __future__ import annotations

import os

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data.errors import DataError, missing_path_error
from stylegan_jax.data.labels import Labels, from_array, no_labels

_MAX_RATIO = 100
"""Largest allowed ratio of unpacked to packed bytes of a .npz beyond 1 GiB, as for zips of images."""


class MemorySource:
    """A `Source` over an array that is already in memory (or mapped from a file).

    Args:
        pixels: uint8[N, h, w, c] with c 1, 3 or 4, or uint8[N, h, w] for grey.
        labels: int[N] class numbers, float[N, k] or `Labels`; None: no labels.
        label_names: class names.
        name: short name for logs and errors.

    Raises:
        DataError: the shape or type is wrong, or there is no image.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray | Labels | None = None,
        *,
        label_names: tuple[str, ...] = (),
        name: str = "memory",
    ):
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
            shape = getattr(pixels, "shape", ())
            raise DataError(
                f"{name}: images are {getattr(pixels, 'dtype', type(pixels).__name__)}{list(shape)}; they must be "
                "uint8[N, h, w, c], or uint8[N, h, w] for grey"
            )
        self.array = pixels[..., None] if pixels.ndim == 3 else pixels
        if 0 in self.array.shape or self.array.shape[3] not in (1, 3, 4):
            raise DataError(f"{name}: images have the shape {list(pixels.shape)}; N, h, w > 0 and c = 1, 3 or 4")
        self._labels: Labels = no_labels(len(pixels))
        if isinstance(labels, Labels):
            self._labels = labels
        elif labels is not None:
            self._labels = from_array(labels, len(pixels), name, label_names)
        self._name = name

    def info(self) -> SourceInfo:
        """Describe the set."""
        _, height, width, channels = self.array.shape
        return SourceInfo(self._name, len(self.array), (height, width, channels), **self._labels.info())

    def pixels(self, index: int) -> np.ndarray:
        """Return one image, uint8[h, w, c]."""
        return self.array[index]

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]."""
        return self._labels.vectors(index)

    def label_rows(self, index: np.ndarray) -> np.ndarray:
        """Return labels as batches contain them: class numbers int32[*index.shape], or vectors like `labels`."""
        return self._labels.rows(index)

    def close(self) -> None:
        """Do nothing: the array belongs to its owner."""


def open_memory(data: DataConfig, image_shape: tuple[int, int, int]) -> MemorySource:
    """Open a .npy (mapped, not loaded) or a .npz with 'images' and, optionally, 'labels'.

    Raises:
        DataError: arrays are missing, damaged, pickled or wrong.
    """
    del image_shape
    path = data.path
    if not path:
        raise ConfigError("config.data.path is empty; data.source='memory' needs a .npy or .npz, or use MemorySource")
    if os.path.isdir(path):
        raise ConfigError(f"config.data.path is {path!r}, a folder; use --config.data.source=folder")
    if not os.path.isfile(path):
        raise missing_path_error(path, "file")
    name = os.path.splitext(os.path.basename(path))[0]
    wanted = ("images", "labels") if data.labels == "file" else ("images",)
    try:
        known = arrays.read_headers(path)
        if "" in known:
            found = {"images": np.lib.format.open_memmap(path, mode="r")}
        else:
            most = max(arrays.MAX_BYTES, _MAX_RATIO * os.path.getsize(path))
            found = arrays.load(path, tuple(n for n in wanted if n in known), most)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable .npy or .npz of plain arrays ({str(error)[:200]})") from error
    if "images" not in found:
        raise DataError(f"{path}: no array 'images' in it; it contains {arrays.listed(list(known))}")
    if wanted[-1] not in found:
        raise DataError(
            f"{path}: config.data.labels='file' needs a .npz with an array 'labels'; use --config.data.labels=none"
        )
    return MemorySource(np.asarray(found["images"]), found.get("labels"), name=name)
