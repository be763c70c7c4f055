"""The TFRecord sets of the TensorFlow-era StyleGAN tools, read without TensorFlow.

A set is a folder with one file per resolution, `<name>-r08.tfrecords` for 2^8 pixels, and optionally
`<name>-rxx.labels`, a NumPy array of one row per image. A record is a tf.train.Example with `shape` (channels, height,
width) and `data`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import struct
from collections.abc import Iterator

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.data.errors import BadImage, DataError
from stylegan_jax.data.prepare.crc32c import crc32c
from stylegan_jax.data.prepare.examples import Example, Examples, Label

_HEAD = struct.Struct("<QI")
_MAX_RECORD = 1 << 28


def open_tfrecords(path: str, wanted: str) -> Examples:
    """Open a folder (its highest resolution) or one .tfrecords file.

    Args:
        path: path of the folder or file.
        wanted: labels to read: 'auto' (if there is a .labels file), 'file' (it is required) or 'none'.

    Raises:
        DataError: the folder has no such file, its framing is damaged, or labels are missing.
    """
    file = _highest(path) if os.path.isdir(path) else path
    records = _Records(file)
    values: list[Label] | None = None
    if wanted != "none":
        found = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(file) or "."), "*.labels")))
        if found:
            values = _read_labels(found[0], len(records.spans))
        elif wanted == "file":
            raise DataError(f"{file}: --labels=file needs a *-rxx.labels file next to it; use --labels=none")

    def examples() -> Iterator[Example]:
        for i in range(len(records.spans)):
            yield Example(f"record {i}", values[i] if values else None, lambda i=i: _pixels(records.read(i)))

    return Examples(
        "tfrecords",
        os.path.basename(file),
        examples(),
        len(records.spans),
        labelled=values is not None,
        classes=max((v + 1 for v in values or () if isinstance(v, int)), default=0),
        channels=_channels(records),
        close=records.close,
    )


def _channels(records: _Records) -> int:
    """Return the channels of the first readable record near the start, or 3."""
    for i in range(min(100, len(records.spans))):
        with contextlib.suppress(BadImage):
            return _pixels(records.read(i)).shape[2]
    return 3


def _highest(folder: str) -> str:
    found = sorted(glob.glob(os.path.join(glob.escape(folder), "*.tfrecords")))
    levels = {f: int(m[1]) for f in found if (m := re.search(r"-r(\d\d)\.tfrecords$", f))}
    if not levels:
        raise DataError(
            f"{folder}: no file called like NAME-r08.tfrecords; pass the .tfrecords file itself, or tfds:NAME for a "
            "data set of tensorflow_datasets"
        )
    return max(levels, key=lambda f: levels[f])


class _Records:
    """The records of one file, read by position; thread-safe.

    Raises:
        DataError: it cannot be read, or a length does not fit its checksum or the file.
    """

    def __init__(self, path: str):
        self.path = path
        self.spans: list[tuple[int, int]] = []
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            self._find()
        except BaseException:
            self.close()
            raise

    def _find(self) -> None:
        at, size = 0, os.fstat(self._fd).st_size
        while at < size:
            length = self._length(at, size)
            self.spans.append((at + _HEAD.size, length))
            at += _HEAD.size + length + 4
        if not self.spans:
            raise DataError(f"{self.path}: no record in it")

    def _length(self, at: int, size: int) -> int:
        where = f"{self.path}: record {len(self.spans)}"
        if at + _HEAD.size + 4 > size:
            raise DataError(f"{where} is cut off; copy the file again")
        head = os.pread(self._fd, _HEAD.size, at)
        length, check = _HEAD.unpack(head)
        if _masked(head[:8]) != check:
            raise DataError(f"{where} does not begin like one; not a TFRecord file, compressed, or damaged")
        if length > _MAX_RECORD or at + _HEAD.size + length + 4 > size:
            raise DataError(f"{where} claims {length} bytes, more than there are; copy the file again")
        return length

    def read(self, index: int) -> bytes:
        """Return the content of a record.

        Raises:
            BadImage: its checksum is wrong.
        """
        start, length = self.spans[index]
        data = os.pread(self._fd, length + 4, start)
        if len(data) != length + 4 or _masked(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise BadImage("damaged: the checksum of the record is wrong")
        return data[:-4]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _masked(data: bytes) -> int:
    """Return the checksum as TFRecord files store it: rotated and offset."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return (the varint at a position, the position after it); raises ValueError or IndexError."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a protocol buffer message: integers for varints, bytes for the rest."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"wire type {kind}")
        size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if size > len(data) - at:
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[at : at + size]
        at += size


def _only(data: bytes, number: int) -> list[bytes]:
    """Return the submessages or strings with this field number."""
    return [value for found, value in _fields(data) if found == number and isinstance(value, bytes)]


def _integers(data: bytes, most: int) -> list[int]:
    """Return the numbers of an Int64List, packed or not; raises ValueError for more than `most`."""
    out: list[int] = []
    for number, value in _fields(data):
        if number != 1:
            continue
        at = 0
        while isinstance(value, bytes) and at < len(value) and len(out) <= most:
            one, at = _varint(value, at)
            out.append(one)
        out += [value] if isinstance(value, int) else []
        if len(out) > most:
            raise ValueError(f"more than {most} numbers")
    return out


def _pixels(record: bytes) -> np.ndarray:
    """Return uint8[h, w, c] of a tf.train.Example with 'shape' and 'data'.

    Raises:
        BadImage: it is not such an example.
    """
    try:
        features: dict[bytes, bytes] = {}
        for message in _only(record, 1):  # Example.features
            for entry in _only(message, 1):  # Features.feature, a map
                features[_only(entry, 1)[0]] = _only(entry, 2)[0]
        shape = _integers(_only(features[b"shape"], 3)[0], 3)  # Feature.int64_list
        data = _only(_only(features[b"data"], 1)[0], 1)[0]  # Feature.bytes_list
        channels, height, width = shape
    except (ValueError, IndexError, KeyError) as error:
        raise BadImage(f"not an example with 'shape' and 'data' ({type(error).__name__}: {error})") from error
    if len(data) != channels * height * width or not data:
        raise BadImage(f"{len(data)} bytes for the shape {shape}")
    return np.frombuffer(data, np.uint8).reshape(channels, height, width).transpose(1, 2, 0)


def _read_labels(path: str, count: int) -> list[Label]:
    """Return one label per image; if all rows are one-hot, labels are class numbers.

    Raises:
        DataError: it is not a plain array of one row per image.
    """
    try:
        found = arrays.load(path)
    except ValueError as error:
        raise DataError(f"{path}: not a readable array of numbers ({str(error)[:200]}); use --labels=none") from error
    values = found.get("", np.zeros(()))
    if values.ndim not in (1, 2):
        raise DataError(f"{path}: not an array of numbers with one row per image; use --labels=none")
    if len(values) != count:
        raise DataError(f"{path}: {len(values)} labels for {count} images; are they of the same set?")
    if values.ndim == 1:
        if not np.isfinite(values).all() or (values % 1).any():
            raise DataError(f"{path}: one number per image, but not whole numbers, as classes are; use --labels=none")
        return [int(v) for v in values]
    if np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all():
        return [int(v) for v in values.argmax(axis=1)]
    return [[float(x) for x in row] for row in values]
