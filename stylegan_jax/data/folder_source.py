"""Images in a folder and its subfolders, in the order of their names."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data import images, labels
from stylegan_jax.data.errors import SHOWN, BadImage, DataError, missing_path_error, printable
from stylegan_jax.data.files import FileSource, split_suffixes


class FolderFiles:
    """`files.Files` over a folder: names are relative, with '/', sorted.

    Linked files are read wherever they lie; linked folders are not entered but refused by name, so that a link cannot
    lead in circles.

    Args:
        path: the folder.
        suffixes: of the files to list.

    Raises:
        DataError: no such folder.
    """

    def __init__(self, path: str, suffixes: tuple[str, ...] = images.SUFFIXES):
        if os.path.isfile(path):
            raise ConfigError(f"config.data.path is {path!r}, a file; use --config.data.source=zip (or memory)")
        if not os.path.isdir(path):
            raise missing_path_error(path, "folder")
        self.where = path
        found, linked = _walk(path)
        self.names, self.bad = split_suffixes(found, suffixes)
        self.bad += [(name, "a link to a folder, which is not followed; copy it, or use its target") for name in linked]

    def read(self, index: int) -> bytes:
        """Return the bytes of one file."""
        with self.open(index) as file:
            return file.read(images.MAX_BYTES)

    def open(self, index: int) -> BinaryIO:
        """Open one file."""
        path = os.path.join(self.where, self.names[index])
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadImage("not a regular file")
        if status.st_size > images.MAX_BYTES:
            raise BadImage(f"{status.st_size} bytes; the limit is {images.MAX_BYTES}")
        return open(path, "rb")

    def digest(self, index: int) -> bytes:
        """Return a digest of one file's bytes."""
        return hashlib.sha256(self.read(index)).digest()

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _walk(root: str) -> tuple[list[str], list[str]]:
    """Return names relative to root, with '/': (files, links to folders)."""

    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    found: list[str] = []
    linked: list[str] = []
    for folder, subfolders, names in os.walk(root, onerror=fail):
        relative = os.path.relpath(folder, root)
        prefix = "" if relative == os.curdir else relative.replace(os.sep, "/") + "/"
        found += [prefix + n for n in names]
        linked += [prefix + s for s in subfolders if os.path.islink(os.path.join(folder, s))]
    return found, linked


def _json_labels(path: str, names: Sequence[str]) -> labels.Labels:
    file = os.path.join(path, labels.JSON_NAME)
    try:
        with open(file, "rb") as f:
            content = f.read()
    except OSError as error:
        raise DataError(
            f"config.data.labels='file' needs {file}, which cannot be read ({error.strerror}); add it, or use "
            "--config.data.labels=subfolders or --config.data.labels=none"
        ) from error
    return labels.parse_json(content, names, file)


def _subfolder_labels(path: str, names: Sequence[str]) -> labels.Labels:
    loose = [n for n in names if "/" not in n]
    if loose:
        shown = ", ".join(printable(n) for n in loose[:SHOWN])
        raise DataError(
            f"{path}: config.data.labels='subfolders', but {len(loose)} images lie outside any subfolder: "
            f"{shown}{' …' * (len(loose) > SHOWN)}; move them into the subfolder of their class"
        )
    numbers, classes = labels.by_subfolder(names)
    return labels.from_array(np.array([numbers[n] for n in names]), len(names), path, classes)


def open_folder(data: DataConfig, image_shape: tuple[int, int, int]) -> FileSource:
    """Open `data.path` as a folder of images with `image_shape[2]` channels.

    Raises:
        DataError: no such folder, no image, bad images, or labels missing.
    """

    def read_labels(names: Sequence[str]) -> labels.Labels:
        if data.labels == "none":
            return labels.no_labels(len(names))
        return (_json_labels if data.labels == "file" else _subfolder_labels)(data.path, names)

    return FileSource(
        os.path.basename(os.path.abspath(data.path)),
        FolderFiles(data.path),
        read_labels,
        channels=image_shape[2],
        on_bad_image=data.on_bad_image,
        workers=data.workers,
    )
