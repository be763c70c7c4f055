"""A source whose images have the model's size, and are kept decoded in memory if they fit."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np

from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import DataConfig
from stylegan_jax.data import images, labels, order
from stylegan_jax.data.errors import BadImage, DataError, bad_images_error
from stylegan_jax.data.files import FileSource, run_parallel
from stylegan_jax.data.memory_source import MemorySource

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
        array: uint8[N, h, w, c], all images at the model's size; None if they are not kept in memory.
        cache: where batches come from: 'off', 'host' or 'device'.
        keep: int64[N], which images of `inner` these are, ascending; None: all.
    """

    def __init__(
        self,
        inner: Source,
        size: tuple[int, int],
        resize_filter: str,
        array: np.ndarray | None,
        cache: str,
        keep: np.ndarray | None = None,
    ):
        self.inner, self.array, self.cache, self.keep = inner, array, cache, keep
        self.size, self.resize_filter = size, resize_filter
        self._smallest: FittedSource | None = None

    def info(self) -> SourceInfo:
        """Describe the set; image_shape is the stored one."""
        info = self.inner.info()
        if self.keep is None:
            return info
        if info.label_counts:
            counts = labels.count(self.label_rows(np.arange(len(self.keep))), info.label_kind, info.label_dim)
            info = info._replace(label_counts=counts)
        return info._replace(num_images=len(self.keep), subset_of=info.num_images)

    def stored(self, index: Any) -> Any:
        """Return the numbers in `inner` of images (an int or an array of them)."""
        return index if self.keep is None else self.keep[index]

    def pixels(self, index: int) -> np.ndarray:
        """Return one image at the model's size, uint8[h, w, c]."""
        if self.array is not None:
            return self.array[index]
        return images.fit(self.inner.pixels(int(self.stored(index))), self.size, self.resize_filter)

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Return images at the model's size, uint8[m, h, w, c], for int64[m]."""
        if self.array is not None:
            return self.array[index]
        return np.stack([self.pixels(int(i)) for i in index])

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]."""
        return self.inner.labels(self.stored(index))

    def label_rows(self, index: np.ndarray) -> np.ndarray:
        """Return labels as batches contain them: class numbers int32[*index.shape], or vectors like `labels`."""
        if rows := getattr(self.inner, "label_rows", None):
            return rows(self.stored(index))
        vectors = self.labels(index)  # a user's own source may lack `label_rows`
        return np.argmax(vectors, axis=-1).astype(np.int32) if self.inner.info().label_kind == "classes" else vectors

    def at(self, image_shape: tuple[int, int, int], data: DataConfig) -> FittedSource:
        """Return the same images at another (h, w, c), resized from the stored ones, in memory if they fit.

        Closing this source closes the result too. With data.on_bad_image='skip', call `leave_out_bad` first.

        Raises:
            DataError: an image cannot be decoded.
        """
        size = image_shape[:2]
        for known in (self, self._smallest):
            if known is not None and known.size == size:
                return known
        chosen = self.stored(np.arange(self.info().num_images))
        cache = _choose_cache(data, len(chosen), image_shape)
        array = None
        if cache != "off":
            array, bad = _decode(self.inner, chosen, size, self.resize_filter, data.workers)
            if bad and data.on_bad_image == "skip":  # it was good at the start, or was not checked
                raise bad[0][1]
            if bad:
                raise bad_images_error(self.info().name, [(e.name, e.reason) for _, e in bad], len(chosen))
        return FittedSource(self.inner, size, self.resize_filter, array, cache, self.keep)

    def leave_out_bad(self, image_shape: tuple[int, int, int], data: DataConfig) -> None:
        """Skip images that cannot be decoded before any are shown, so that all sizes have the same images.

        With data.on_bad_image='skip', all images are decoded here if they fit into memory at the smallest size. If they
        fit at the model's size, this has already been done. If they do not fit at all, a bad image ends the run when it
        is shown.

        Args:
            image_shape: the smallest (h, w, c) that will be requested from `at`; images at this size are kept.
            data: `config.data`.

        Raises:
            DataError: no image can be decoded.
        """
        size = image_shape[:2]
        is_checked = self.array is not None or size == self.size or not isinstance(self.inner, FileSource)
        if is_checked or data.on_bad_image != "skip":
            return
        cache = _choose_cache(data, self.info().num_images, image_shape)
        if cache != "off":
            array, self.keep = decode_all(self.inner, size, self.resize_filter, data.workers, self.keep)
            self._smallest = FittedSource(self.inner, size, self.resize_filter, array, cache, self.keep)

    def close(self) -> None:
        """Release the source and forget the decoded images."""
        self.inner.close()
        self.array = self._smallest = None


def fit_source(source: Source, data: DataConfig, image_shape: tuple[int, int, int]) -> FittedSource:
    """Check a source against the model's (h, w, c), choose `data.subset`, and decode as `data.cache` says.

    Raises:
        DataError: channels or aspect ratio differ, the subset is too large, or an image cannot be decoded.
    """
    if isinstance(source, FittedSource):
        if (*source.size, source.info().image_shape[2]) != image_shape:
            raise DataError(f"the source was opened for images of {source.size}, not {image_shape}; open it again")
        return source
    info = source.info()
    _check_shape(info, image_shape)
    size = image_shape[:2]
    keep = _choose(source, info, data)
    num_images = info.num_images if keep is None else len(keep)
    cache = _choose_cache(data, num_images, image_shape)
    array = None
    if isinstance(source, MemorySource) and info.image_shape == image_shape and keep is None:
        array = source.array
    elif cache != "off":
        array, keep = decode_all(source, size, data.resize_filter, data.workers, keep)
    return FittedSource(source, size, data.resize_filter, array, cache, keep)


def _choose_cache(data: DataConfig, num_images: int, image_shape: tuple[int, int, int]) -> str:
    """Return where batches come from: 'off', 'host' or 'device'; the size decides 'auto'."""
    needed_mb = num_images * int(np.prod(image_shape)) / 2**20
    cache = data.cache
    if cache == "auto":
        cache = "host" if needed_mb <= data.cache_limit_mb else "off"
    if cache != "off":
        log.info("decoding %d images into %.0f MB", num_images, needed_mb)
    return cache


def _choose(source: Source, info: SourceInfo, data: DataConfig) -> np.ndarray | None:
    """Return the images that `data.subset` selects, ascending; None: all. A source of videos counts videos."""
    if data.subset and (choose := getattr(source, "choose", None)):
        return choose(data.subset, data.subset_seed)
    if data.subset > info.num_images:
        raise DataError(
            f"config.data.subset is {data.subset}; {info.name} has {info.num_images} images; use at most that many, "
            "or 0 for all"
        )
    if data.subset in (0, info.num_images):
        return None
    return order.subset(data.subset_seed, data.subset, info.num_images)


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


def decode_all(
    source: Source, size: tuple[int, int], resize_filter: str, workers: int, keep: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode images; bad ones raise an error or are skipped.

    Args:
        source: the source to decode.
        size: (height, width) to resize to.
        resize_filter: 'box' or 'lanczos'.
        workers: number of threads.
        keep: int64[N], ascending, the images to decode; None: all.

    Returns:
        (uint8[N, h, w, c], `keep` without the skipped images, in the source's new numbering).

    Raises:
        DataError: images are bad and the source does not skip them, or no good ones are left.
    """
    info = source.info()
    chosen = np.arange(info.num_images) if keep is None else keep
    array, bad = _decode(source, chosen, size, resize_filter, workers)
    if not bad:
        return array, keep
    assert isinstance(source, FileSource), type(source)
    stay = source.drop(bad)
    good = np.flatnonzero(np.isin(chosen, stay))
    if not len(good):
        raise bad_images_error(info.name, [(error.name, error.reason) for _, error in bad], len(chosen))
    for to, i in enumerate(good):  # in place, because the set may fill most of the memory
        array[to] = array[i]
    return array[: len(good)], None if keep is None else np.searchsorted(stay, chosen[good])


def _decode(
    source: Source, chosen: np.ndarray, size: tuple[int, int], resize_filter: str, workers: int
) -> tuple[np.ndarray, list[tuple[int, BadImage]]]:
    """Return (uint8[N, h, w, c] of the chosen images, (number, error) of those that cannot be decoded, ascending)."""
    info = source.info()
    array = np.empty((len(chosen), *size, info.image_shape[2]), np.uint8)
    bad: list[tuple[int, BadImage]] = []

    def decode(i: int) -> None:
        number = int(chosen[i])
        try:
            array[i] = images.fit(source.pixels(number), size, resize_filter)
        except BadImage as error:
            bad.append((number, error))

    run_parallel(decode, len(chosen), workers, f"decoding {info.name}")
    return array, sorted(bad, key=lambda pair: pair[0])
