"""A source brought to the model's image size, with its decoded images kept in memory when they fit."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np

from stylegan_jax.config import DataConfig
from stylegan_jax.data import images
from stylegan_jax.data.errors import BadImage, DataError
from stylegan_jax.data.files import FileSource, parallel
from stylegan_jax.data.memory_source import MemorySource
from stylegan_jax.spec import SourceInfo

log = logging.getLogger(__name__)


class Source(Protocol):
    """Random access to images of one size and their labels. All methods may be called from any thread."""

    def info(self) -> SourceInfo:
        """Describe the set without decoding it."""
        ...

    def pixels(self, index: int) -> np.ndarray:
        """Return one image, uint8[h, w, c]."""
        ...

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]; k = 0 without labels."""
        ...

    def close(self) -> None:
        """Release files; no other method may be called afterwards."""
        ...


class FittedSource:
    """A `Source` whose `pixels` have the model's shape; `info().image_shape` stays the stored one.

    Attributes:
        inner: the source as stored.
        array: uint8[N, h, w, c], all images at the model's size; None when they are not held in memory.
        cache: where batches come from: 'off', 'host' or 'device'.
    """

    def __init__(self, inner: Source, size: tuple[int, int], resize_filter: str, array: np.ndarray | None, cache: str):
        self.inner, self.array, self.cache = inner, array, cache
        self.size, self.resize_filter = size, resize_filter

    def info(self) -> SourceInfo:
        """Describe the set; image_shape is the stored one."""
        return self.inner.info()

    def pixels(self, index: int) -> np.ndarray:
        """Return one image at the model's size, uint8[h, w, c]."""
        if self.array is not None:
            return self.array[index]
        return images.fit(self.inner.pixels(index), self.size, self.resize_filter)

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Return images at the model's size, uint8[m, h, w, c], for int64[m]."""
        if self.array is not None:
            return self.array[index]
        return np.stack([self.pixels(int(i)) for i in index])

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]."""
        return self.inner.labels(index)

    def close(self) -> None:
        """Release the source and forget the decoded images."""
        self.inner.close()
        self.array = None


def fit_source(source: Source, data: DataConfig, image_shape: tuple[int, int, int]) -> FittedSource:
    """Check a source against the model's (h, w, c), and decode it into memory if `data.cache` says so.

    Raises:
        DataError: other channels, another aspect ratio, or an image that cannot be decoded.
    """
    if isinstance(source, FittedSource):
        if (*source.size, source.info().image_shape[2]) != image_shape:
            raise DataError(f"the source was opened for images of {source.size}, not {image_shape}; open it again")
        return source
    info = source.info()
    _check_shape(info, image_shape)
    size = image_shape[:2]
    needed_mb = info.num_images * int(np.prod(image_shape)) / 2**20
    cache = data.cache
    if cache == "auto":
        cache = "host" if needed_mb <= data.cache_limit_mb else "off"
    array = None
    if isinstance(source, MemorySource) and info.image_shape == image_shape:
        array = source.array
    elif cache != "off":
        log.info("%s: decoding %d images into %.0f MB", info.name, info.num_images, needed_mb)
        array = decode_all(source, size, data.resize_filter, data.workers)
    return FittedSource(source, size, data.resize_filter, array, cache)


def _check_shape(info: SourceInfo, image_shape: tuple[int, int, int]) -> None:
    height, width, channels = info.image_shape
    model_h, model_w, model_c = image_shape
    if channels != model_c:
        raise DataError(
            f"{info.name}: images have {channels} channels, the model {model_c}; set "
            f"--config.model.img_channels={channels} or convert the images"
        )
    if height * model_w != width * model_h:
        raise DataError(
            f"{info.name}: images are {width}x{height} (width x height), the model's are {model_w}x{model_h}, another "
            "aspect ratio; crop the images, or set config.model.base_size and config.model.resolution to theirs"
        )
    if height < model_h:
        log.warning(
            "%s: images are enlarged from %dx%d to %dx%d; consider config.model.resolution=%d",
            *(info.name, width, height, model_w, model_h, height),
        )


def decode_all(source: Source, size: tuple[int, int], resize_filter: str, workers: int) -> np.ndarray:
    """Return all images at (height, width) `size`, uint8[N, h, w, c]; bad ones are refused or left out.

    Raises:
        DataError: bad images, and the source refuses them.
    """
    info = source.info()
    array = np.empty((info.num_images, *size, info.image_shape[2]), np.uint8)
    bad: list[tuple[int, BadImage]] = []

    def decode(i: int) -> None:
        try:
            array[i] = images.fit(source.pixels(i), size, resize_filter)
        except BadImage as error:
            bad.append((i, error))

    parallel(decode, info.num_images, workers, f"decoding {info.name}")
    if not bad:
        return array
    assert isinstance(source, FileSource), type(source)
    stay = source.drop(sorted(bad, key=lambda pair: pair[0]))
    for to, i in enumerate(stay):  # in place: the set may fill most of the memory
        array[to] = array[i]
    return array[: len(stay)]
