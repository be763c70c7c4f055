"""Prepared data sets of tensorflow_datasets with an image feature. Nothing is ever downloaded here.

Random access needs the whole set in memory (TFRecord files, the default of tfds) or array_record files, which are read
one example at a time and need no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import DataConfig, suggest
from stylegan_jax.data.errors import DataError
from stylegan_jax.data.fitted import Source
from stylegan_jax.data.labels import Labels, from_array, no_labels
from stylegan_jax.data.memory_source import MemorySource


class ArrayRecordSource:
    """A `Source` over a tfds split in array_record files, decoded image by image (under a lock).

    Args:
        name: short name for logs and errors.
        examples: the tfds data source, which decodes images.
        image_key: name of the image feature.
        labels: labels of all examples.
    """

    def __init__(self, name: str, examples: Any, image_key: str, labels: Labels):
        self._name, self._examples, self._key, self._labels = name, examples, image_key, labels
        self._lock = threading.Lock()
        self._shape: tuple[int, ...] = ()
        self._shape = self.pixels(0).shape

    def info(self) -> SourceInfo:
        """Describe the set; the shape is that of the first image."""
        shape = (self._shape[0], self._shape[1], self._shape[2])
        return SourceInfo(self._name, len(self._examples), shape, **self._labels.info())

    def pixels(self, index: int) -> np.ndarray:
        """Return one image, uint8[h, w, c].

        Raises:
            DataError: it cannot be read, or its shape differs from the first.
        """
        try:
            with self._lock:
                image = np.asarray(self._examples[int(index)][self._key])
        except Exception as error:  # tfds' reader and decoder raise many kinds
            raise DataError(f"{self._name}: example {index} cannot be read: {str(error)[:200]}") from error
        return _checked(image, self._shape or image.shape, f"{self._name}: example {index}")

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]."""
        return self._labels.vectors(index)

    def label_rows(self, index: np.ndarray) -> np.ndarray:
        """Return labels as batches contain them: class numbers int32[*index.shape], or vectors like `labels`."""
        return self._labels.rows(index)

    def close(self) -> None:
        """Drop the reader."""
        self._examples = ()


def _checked(image: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape != shape:
        raise DataError(
            f"{where} is {image.dtype}{list(image.shape)}; all must be uint8{list(shape)}: write the set as a zip of "
            "images of one size"
        )
    return image


def _builder(tfds: Any, path: str) -> Any:
    """Return the builder of a prepared data set, by name or by folder."""
    data_dir = os.path.expanduser(os.environ.get("TFDS_DATA_DIR", os.path.join("~", "tensorflow_datasets")))
    try:
        if os.path.isdir(path):
            return tfds.builder_from_directory(path)
        builder = tfds.builder(path, data_dir=data_dir, try_gcs=False)
        prepared = builder.is_prepared()
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = suggest(path, known).split("known:")[0].strip()
        raise DataError(
            f"tfds has no data set {path!r}, and {data_dir} (TFDS_DATA_DIR) holds none. "
            f"{near or 'Pass a name such as cifar10, or the folder with dataset_info.json.'}"
        ) from error
    except Exception as error:  # tfds raises many kinds for names and folders it cannot read
        why = (str(error) or repr(error)).splitlines()[0][:200]
        raise DataError(
            f"tfds data set {path!r}: tfds cannot open it ({why}); pass a name such as cifar10, or the folder with "
            "dataset_info.json"
        ) from error
    if not prepared:
        raise DataError(
            f"tfds data set {path!r} is not prepared in {data_dir} (TFDS_DATA_DIR). Nothing is downloaded here; run "
            f"once: tfds build {path} --data_dir={data_dir}"
        )
    return builder


def _image_key(tfds: Any, features: Any, path: str) -> str:
    keys = [k for k, f in features.items() if isinstance(f, tfds.features.Image)] if hasattr(features, "items") else []
    if not keys:
        raise DataError(f"tfds {path}: no image among its features {list(getattr(features, 'keys', list)())}")
    if len(keys) > 1 and "image" not in keys:
        raise DataError(f"tfds {path}: several image features {keys}; one must be called 'image'")
    return "image" if "image" in keys else keys[0]


def _label_key(tfds: Any, features: Any, path: str, wanted: str) -> str:
    """Return the name of the class feature; '' if there is none to use and 'file' did not request it."""
    keys = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    if wanted == "none":
        return ""
    if "label" in keys or len(keys) == 1:
        return "label" if "label" in keys else keys[0]
    if wanted == "file":
        raise DataError(f"tfds {path}: labels='file' needs one class feature, found {keys}; use labels='none'")
    return ""


class Split(NamedTuple):
    """A split of a prepared data set.

    Attributes:
        builder: tfds' builder.
        name: name of data set and split, for logs.
        count: number of examples.
        image_key: name of the image feature.
        label_key: name of the class feature, '' without labels.
        label_names: names of its classes.
    """

    builder: Any
    name: str
    count: int
    image_key: str
    label_key: str
    label_names: tuple[str, ...]


def open_split(path: str, split: str, labels: str) -> Split:
    """Find a prepared data set, by name or by the folder with dataset_info.json.

    Args:
        path: name or folder.
        split: such as 'train'.
        labels: 'file' (it must have a class feature), 'auto' (if it has one) or 'none'.

    Raises:
        DataError: tfds is missing, the set is unknown or not prepared, the split is unknown, or it lacks images or
            labels.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError("reading tfds data sets needs: pip install tensorflow-datasets tensorflow-cpu") from error
    builder = _builder(tfds, path)
    info = builder.info
    if split not in info.splits:
        raise DataError(f"tfds {path}: there is no split {split!r}; {suggest(split, list(info.splits))}")
    count = info.splits[split].num_examples
    if not count:
        raise DataError(f"tfds {path}: the split {split!r} is empty")
    image_key = _image_key(tfds, info.features, path)
    label_key = _label_key(tfds, info.features, path, labels)
    names = tuple(info.features[label_key].names) if label_key else ()
    return Split(builder, f"{info.name}-{split}", count, image_key, label_key, names)


def open_tfds(data: DataConfig, image_shape: tuple[int, int, int]) -> Source:
    """Open a prepared tfds data set, by name or by the folder with dataset_info.json.

    Raises:
        DataError: tfds is missing, the set is unknown, not prepared or too large for memory, the split is unknown, or
            it has no images.
    """
    del image_shape
    builder, name, count, image_key, label_key, names = open_split(data.path, data.split, data.labels)
    import tensorflow_datasets as tfds

    def labels(values: np.ndarray) -> Labels:
        if not label_key:
            return no_labels(count)
        return dataclasses.replace(from_array(values, count, name), dim=len(names), names=names)

    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        quick = builder.as_data_source(data.split, decoders={image_key: tfds.decode.SkipDecoding()})
        values = np.array([int(quick[i][label_key]) for i in range(count if label_key else 0)], np.int64)
        return ArrayRecordSource(name, builder.as_data_source(data.split), image_key, labels(values))
    pixels, values = _load(tfds, builder, data, image_key, label_key, count)
    return MemorySource(pixels, labels(values), name=name)


def _load(
    tfds: Any, builder: Any, data: DataConfig, image_key: str, label_key: str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a split into memory: (uint8[N, h, w, c], int64[N])."""
    from stylegan_jax.data.pipeline import import_tensorflow

    import_tensorflow()
    examples = tfds.as_numpy(builder.as_dataset(split=data.split, shuffle_files=False))
    pixels = np.empty((0,), np.uint8)
    values = np.zeros(count, np.int64)
    done = 0
    for i, example in enumerate(examples):
        image = example[image_key]
        if i == 0:
            needed_mb = count * image.size / 2**20
            if needed_mb > data.cache_limit_mb or data.cache == "off":
                raise DataError(
                    f"tfds {data.path}: {count} images of {list(image.shape)} take {needed_mb:.0f} MB in memory, with "
                    f"config.data.cache={data.cache!r} and cache_limit_mb={data.cache_limit_mb}. Raise the limit, or "
                    f"prepare it for random access: tfds build {data.path} --file_format=array_record"
                )
            pixels = np.empty((count, *image.shape), np.uint8)
        pixels[i] = _checked(image, pixels.shape[1:], f"tfds {data.path}: example {i}")
        values[i] = example[label_key] if label_key else 0
        done += 1
    if done != count:
        raise DataError(
            f"tfds {data.path}: {done} examples, not {count} as its dataset_info.json says; prepare it again"
        )
    return pixels, values
