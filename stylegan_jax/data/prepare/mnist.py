"""MNIST and its relatives: idx files, gzipped or not, with the labels in a file next to the images."""

from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np

from stylegan_jax.data.errors import DataError
from stylegan_jax.data.prepare.examples import Examples, from_arrays

_IMAGES, _LABELS = 3, 1  # number of axes, the last byte of the magic number
_MAX_BYTES = 1 << 31


def is_idx(path: str) -> bool:
    """Return whether a file begins like idx images, gzipped or not."""
    try:
        with _open(path) as file:
            return file.read(4) == bytes([0, 0, 8, _IMAGES])
    except (OSError, EOFError, zlib.error):
        return False


def open_mnist(path: str, wanted: str) -> Examples:
    """Open idx images. As in the official tool, 28x28 pixels are padded with black to 32x32.

    Args:
        path: path of the images, such as train-images-idx3-ubyte.gz; train-labels-idx1-ubyte.gz is expected next to it.
        wanted: labels to read: 'auto' (if the file exists), 'file' or 'none'.

    Raises:
        DataError: the file is damaged, or labels are missing.
    """
    pixels = _read(path, _IMAGES)
    if pixels.shape[1:] == (28, 28):
        pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    values = None
    if wanted != "none":
        beside = _labels_path(path)
        if beside:
            values = _read(beside, _LABELS)
            if len(values) != len(pixels):
                raise DataError(f"{beside}: {len(values)} labels for {len(pixels)} images; are they of the same set?")
        elif wanted == "file":
            raise DataError(
                f"{path}: --labels=file needs the labels next to it, named alike with 'labels' for 'images' and 'idx1' "
                "for 'idx3'; use --labels=none"
            )
    return from_arrays(pixels[..., None], values, os.path.basename(path), "mnist", [])


def _labels_path(path: str) -> str:
    """Return the file with the labels of a file of images; '' if it does not exist."""
    folder, name = os.path.split(path)
    beside = name.replace("images", "labels").replace("idx3", "idx1")
    for found in (beside, beside.removesuffix(".gz"), beside + ".gz"):
        if found != name and os.path.isfile(os.path.join(folder, found)):
            return os.path.join(folder, found)
    return ""


def _open(path: str):
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")


def _read(path: str, axes: int) -> np.ndarray:
    """Return uint8[n, …] of an idx file, whose header is a magic number and the sizes, big-endian."""
    try:
        with _open(path) as file:
            head = file.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes([0, 0, 8, axes]):
                raise DataError(f"{path}: not an idx file of unsigned bytes with {axes} axes")
            shape = struct.unpack(f">{axes}I", head[4:])
            count = int(np.prod([int(s) for s in shape], dtype=object))
            if not 0 < count <= _MAX_BYTES:
                raise DataError(f"{path}: claims {list(shape)}; between 1 and {_MAX_BYTES} bytes are read")
            data = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off: {str(error)[:200]}; copy it again") from error
    if len(data) != count:
        raise DataError(
            f"{path}: its header says {list(shape)}, but it holds {'more' if len(data) > count else 'less'}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
