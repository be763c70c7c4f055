"""Decoding on the fly by tf.data, for sets that do not fit into memory. The only module that imports TensorFlow.

Without TensorFlow, `data.batches` decodes the same pixels in a pool of threads.

Images are always in order. TensorFlow decodes PNG and JPEG to the same pixels as Pillow (JPEG with the accurate integer
transform, Pillow's default); Pillow decodes the rest.
"""

from __future__ import annotations

import importlib.util
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stylegan_jax.data import images
from stylegan_jax.data.errors import BadImage, DataError
from stylegan_jax.data.files import FileSource
from stylegan_jax.data.fitted import FittedSource

_AHEAD = 2
_FOREVER = 1 << 62


def has_tensorflow() -> bool:
    """Return whether TensorFlow is installed, without importing it."""
    return importlib.util.find_spec("tensorflow") is not None


def import_tensorflow() -> Any:
    """Import TensorFlow, silenced and without access to the accelerators, which JAX uses.

    Raises:
        DataError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise DataError(
            "data sets of tensorflow_datasets need TensorFlow, which is not installed: pip install tensorflow-cpu"
        ) from error
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def pixel_batches(
    source: FittedSource,
    files: FileSource,
    plan: Callable[[int], tuple[np.ndarray, np.ndarray]],
    rows: int,
    workers: int,
) -> Iterator[np.ndarray]:
    """Yield uint8[rows, h, w, c] for batch 0, 1, ….

    Args:
        source: the images at the model's size.
        files: its encoded files.
        plan: batch number -> (index int64[rows], flip bool[rows, 2]).
        rows: images per batch.
        workers: number of decoding threads, private to the pipeline.

    Raises:
        DataError: an image can no longer be read or decoded; the error names it.
    """
    tf = import_tensorflow()
    decode = _decoder(tf, source, files)

    failed: list[BadImage] = []  # an exception in a Python function loses its type in TensorFlow

    def encoded(i: int) -> bytes:
        try:
            return files.encoded(int(source.stored(i)))
        except BadImage as error:
            failed.append(error)
            return b""

    def read(b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index, flip = plan(int(b))
        return np.array([encoded(int(i)) for i in index], dtype=object), flip

    def load(b):
        strings, flip = tf.numpy_function(read, [b], (tf.string, tf.bool))
        return tf.ensure_shape(strings, (rows,)), tf.ensure_shape(flip, (rows, 2))

    def finish(string, flip):
        pixels = decode(string)
        pixels = tf.where(flip[0], tf.reverse(pixels, [1]), pixels)
        return tf.where(flip[1], tf.reverse(pixels, [0]), pixels)

    plain = tf.autograph.experimental.do_not_convert
    workers = max(1, workers)
    dataset = tf.data.Dataset.range(_FOREVER).map(plain(load), num_parallel_calls=workers).unbatch()
    dataset = dataset.map(plain(finish), num_parallel_calls=workers).batch(rows, drop_remainder=True).prefetch(_AHEAD)
    iterator = dataset.with_options(_options(tf, workers)).as_numpy_iterator()
    b, problem = 0, None
    try:
        while problem is None:
            try:
                made = next(iterator)
            except tf.errors.OpError as error:
                problem = str(error)[:300]
                traceback.clear_frames(error.__traceback__)  # the frames would keep the iterator alive
            else:
                yield made
                b += 1
    finally:
        del iterator, dataset  # ends the reading threads before the files are closed
    if failed:
        raise failed[0]
    source.gather(plan(b)[0])  # decodes with Pillow, to raise an error that names the image
    raise DataError(f"batch {b} could not be decoded: {problem}")


def _options(tf: Any, workers: int) -> Any:
    """Return tf.data options for a deterministic order and private threads, which leave the others to XLA."""
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = workers
    return options


def _decoder(tf: Any, source: FittedSource, files: FileSource) -> Callable[[Any], Any]:
    """Return the function from encoded bytes to uint8[h, w, c] tensors at the model's size."""
    height, width, channels = files.info().image_shape

    def by_pillow(data: bytes) -> np.ndarray:
        try:
            pixels = images.decode(data, channels)
        except BadImage:
            pixels = np.zeros((0, 0, channels), np.uint8)
        return resized(pixels) if pixels.shape[:2] == (height, width) else pixels[:0]  # an empty image fails below

    def resized(pixels: np.ndarray) -> np.ndarray:
        return images.fit(pixels, source.size, source.resize_filter)

    def png(data):
        return tf.io.decode_png(data)

    def jpeg(data):
        return tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE")

    def decode(data):
        if files.formats == {"PNG"}:
            pixels = png(data)
        elif files.formats == {"JPEG"}:
            pixels = jpeg(data)
        elif files.formats == {"PNG", "JPEG"}:
            is_jpeg = tf.strings.substr(data, 0, 2) == b"\xff\xd8"
            pixels = tf.cond(is_jpeg, lambda: jpeg(data), lambda: png(data))
        else:
            return tf.ensure_shape(tf.numpy_function(by_pillow, [data], tf.uint8), (*source.size, channels))
        pixels = tf.ensure_shape(pixels, (height, width, channels))  # fails when a file changed since the start
        if (height, width) != source.size:
            pixels = tf.ensure_shape(tf.numpy_function(resized, [pixels], tf.uint8), (*source.size, channels))
        return pixels

    return decode
