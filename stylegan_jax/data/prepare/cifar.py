"""CIFAR-10 and CIFAR-100, python or binary version, from the published archive, whose pickles are not executed."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zlib
from typing import Any

import numpy as np

from stylegan_jax import inert
from stylegan_jax.data.errors import DataError, printable
from stylegan_jax.data.prepare.examples import Examples, from_arrays

SPLITS = ("train", "test")

_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)
_MAX_MEMBER = 1 << 28
_MAX_TOTAL = 1 << 30
_BATCHES = 5
"""Number of files of CIFAR-10's training images."""
_SIDE, _PIXELS = 32, 3 * 32 * 32
# The files of each split, and the files that may contain the class names.
_PARTS = {"train": r"data_batch_[0-9]+(\.bin)?|train(\.bin)?", "test": r"test_batch(\.bin)?|test(\.bin)?"}
_META = ("batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt")


def is_tar(path: str) -> bool:
    """Return whether a file begins like a tar, gzipped or not."""
    try:
        with _open(path):
            return True
    except _DAMAGE:
        return False


def _open(path: str) -> tarfile.TarFile:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return tarfile.open(path, "r:gz" if packed else "r:")


def open_cifar(path: str, split: str, with_labels: bool) -> Examples:
    """Open cifar-10-python.tar.gz, cifar-10-binary.tar.gz or their CIFAR-100 counterparts.

    The labels of CIFAR-100 are its 100 fine classes.

    Raises:
        DataError: the split is unknown, or the file is not such an archive or is damaged.
    """
    if split not in SPLITS:
        raise DataError(f"--split={split}: CIFAR has {' and '.join(SPLITS)}")
    members = _read_tar(path)
    parts = sorted(n for n in members if re.fullmatch(_PARTS[split], n))
    if not parts:
        shown = ", ".join(printable(n) for n in sorted(members)[:10])
        raise DataError(
            f"{path}: no CIFAR batches of the split {split!r} in it (found: {shown or 'no file'}); for another tar, "
            "unpack it and pass the folder"
        )
    try:
        made = [_binary(members[n], n) if n.endswith(".bin") else _python(members[n]) for n in parts]
        names = _names(members)
    except (inert.RefusedError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a CIFAR archive, or damaged: {str(error)[:200]}") from error
    pixels = np.concatenate([p for p, _ in made]).reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    values = np.concatenate([v for _, v in made])
    examples = from_arrays(pixels, values if with_labels else None, os.path.basename(path), "cifar", names)
    batches = [n for n in parts if n.startswith("data_batch")]
    if 0 < len(batches) < _BATCHES:  # truncation between two files of a tar cannot be detected
        examples.notes.append(
            f"warning: {path} has {len(batches)} of the {_BATCHES} batches of CIFAR-10 ({', '.join(batches)}); if it "
            "should have all, copy it again"
        )
    return examples


def _read_tar(path: str) -> dict[str, bytes]:
    """Return {base name: bytes} of a tar's regular files that belong to CIFAR; nothing is unpacked to disk."""
    wanted = re.compile("|".join([*_PARTS.values(), *map(re.escape, _META)]))
    found: dict[str, bytes] = {}
    total = 0
    try:
        with _open(path) as archive:
            for member in archive:
                total += member.size
                if member.size > _MAX_MEMBER or total > _MAX_TOTAL:
                    raise DataError(f"{path}: {printable(member.name)} makes it larger than any CIFAR archive")
                name = member.name.rsplit("/", 1)[-1]
                if member.isreg() and wanted.fullmatch(name):
                    file = archive.extractfile(member)
                    found[name] = file.read(_MAX_MEMBER) if file else b""
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged or cut off: {str(error)[:200]}; copy it again") from error
    return found


def _text_keys(tree: Any) -> dict[str, Any]:
    """Return a dict with its keys as text; in some archives they are bytes."""
    if not isinstance(tree, dict):
        raise ValueError("a batch is not a dict")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in tree.items()}


def _python(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return (uint8[n, 3072], int64[n]) of a pickled batch."""
    batch = _text_keys(inert.load_plain(io.BytesIO(data)))
    pixels = np.asarray(batch["data"])
    values = np.asarray(batch["labels"] if "labels" in batch else batch["fine_labels"])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise ValueError(f"its pixels are {pixels.dtype}{list(pixels.shape)}, not uint8[n, {_PIXELS}]")
    if values.shape != (len(pixels),) or values.dtype.kind not in "iu":
        raise ValueError(f"its labels are {values.dtype}{list(values.shape)} for {len(pixels)} images")
    return pixels, values.astype(np.int64)


def _binary(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (uint8[n, 3072], int64[n]) of records: a label byte (CIFAR-100: two, fine last), then the pixels."""
    label_bytes = 1 if "batch" in name else 2
    records = np.frombuffer(data, np.uint8)
    if not len(records) or len(records) % (label_bytes + _PIXELS):
        raise ValueError(f"{name} has {len(records)} bytes, not whole records of {label_bytes + _PIXELS}")
    records = records.reshape(-1, label_bytes + _PIXELS)
    return records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64)


def _names(members: dict[str, bytes]) -> list[str]:
    for file in _META:
        if file not in members:
            continue
        if file.endswith(".txt"):
            return members[file].decode("latin1").split()
        meta = _text_keys(inert.load_plain(io.BytesIO(members[file])))
        names = meta["label_names" if "label_names" in meta else "fine_label_names"]
        return [n.decode("latin1") if isinstance(n, bytes) else str(n) for n in names]
    return []
