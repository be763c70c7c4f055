"""Prepared data sets of tensorflow_datasets, read one example at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from stylegan_jax.data.errors import DataError
from stylegan_jax.data.pipeline import import_tensorflow
from stylegan_jax.data.prepare.examples import Example, Examples
from stylegan_jax.data.tfds_source import open_split


def open_tfds_examples(name: str, split: str, wanted: str) -> Examples:
    """Open a prepared data set by name or folder; nothing is downloaded.

    Args:
        name: name such as cifar10, or folder.
        split: split such as train.
        wanted: labels to read: 'auto' (the class feature, if there is one), 'file' (it is required) or 'none'.

    Raises:
        DataError: tfds is missing, the set is unknown or not prepared, the split is unknown, or there is no class
            feature with 'file'.
    """
    found = open_split(name, split, wanted)

    def examples() -> Iterator[Example]:
        try:
            for i, example in enumerate(_stored(found.builder, split)):
                image = np.asarray(example[found.image_key])
                label = int(example[found.label_key]) if found.label_key else None
                yield Example(f"{found.name}[{i}]", label, lambda image=image: image)
        except Exception as error:  # tfds' reader and decoder raise many kinds
            raise DataError(f"tfds {name}: cannot be read: {str(error)[:200]}; prepare it again") from error

    channels = found.builder.info.features[found.image_key].shape[-1]
    return Examples(
        "tfds",
        found.name,
        examples(),
        found.count,
        labelled=bool(found.label_key),
        label_names=found.label_names,
        channels=channels if channels in (1, 3, 4) else 3,
    )


def _stored(builder: Any, split: str) -> Iterator[Any]:
    """Return the examples of a split in their stored order."""
    import tensorflow_datasets as tfds

    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        return iter(builder.as_data_source(split))
    import_tensorflow()
    return iter(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))
