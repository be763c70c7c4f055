"""Images in a folder and its subfolders, in the order of their names."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import BinaryIO

from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data import images
from stylegan_jax.data.contents import hidden_part, list_contents
from stylegan_jax.data.errors import BadImage, DataError, missing_path_error
from stylegan_jax.data.files import FileSource
from stylegan_jax.data.labels import MAX_JSON_BYTES


class FolderFiles:
    """`files.Files` over a folder, by the rule of `contents`.

    Links to files are followed. Links to folders are reported as bad instead, because they could form cycles.

    Args:
        path: the folder.

    Raises:
        ConfigError: it is a file.
        DataError: there is no such folder.
    """

    has_checksums = False

    def __init__(self, path: str):
        if os.path.isfile(path):
            raise ConfigError(f"config.data.path is {path!r}, a file; use --config.data.source=zip (or memory)")
        if not os.path.isdir(path):
            raise missing_path_error(path, "folder")
        self.where = path
        self._found, linked, folders = _walk(path)
        self.contents = list_contents(self._found, self._head, linked, folders)
        self.names, self.bad = self.contents.names, self.contents.bad

    def read(self, index: int) -> bytes:
        """Return the bytes of one file."""
        with self.open(index) as file:
            return file.read(images.MAX_BYTES)

    def path(self, number: int) -> str:
        """Return the path of a file, by its position in the list that `contents` classified."""
        return os.path.join(self.where, self._found[number])

    def open(self, index: int) -> BinaryIO:
        """Open one file."""
        path = self.path(self.contents.numbers[index])
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadImage("not a regular file")
        if status.st_size > images.MAX_BYTES:
            raise BadImage(f"{status.st_size} bytes; the limit is {images.MAX_BYTES}")
        return open(path, "rb")

    def _head(self, number: int) -> bytes:
        """Return the first bytes of a file; b'' if it cannot be read."""
        path = self.path(number)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return b""
            with open(path, "rb") as file:
                return file.read(64)
        except OSError:
            return b""

    def read_json(self, number: int) -> bytes:
        """Return the bytes of a dataset.json, by its position in the list that `contents` classified.

        Raises:
            DataError: it cannot be read.
        """
        path = self.path(number)
        try:
            with open(path, "rb") as file:
                return file.read(MAX_JSON_BYTES + 1)
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}); repair it, or use --config.data.labels=none"
            ) from error

    def digest(self, index: int) -> bytes:
        """Return a digest of one file's bytes."""
        return hashlib.sha256(self.read(index)).digest()

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _walk(root: str) -> tuple[list[str], list[str], list[str]]:
    """Return names relative to root, with '/': (files, links to folders, folders)."""

    def fail(error: OSError) -> None:
        below = os.path.relpath(error.filename or root, root)
        if below != os.curdir and hidden_part(below.replace(os.sep, "/")):
            return  # a system folder such as lost+found, readable by the administrator only
        raise DataError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    found: list[str] = []
    linked: list[str] = []
    folders: list[str] = []
    for folder, subfolders, names in os.walk(root, onerror=fail):
        relative = os.path.relpath(folder, root)
        prefix = "" if relative == os.curdir else relative.replace(os.sep, "/") + "/"
        folders.append(prefix)
        found += [prefix + n for n in names]
        linked += [prefix + s for s in subfolders if os.path.islink(os.path.join(folder, s))]
    return found, linked, folders


def open_folder(data: DataConfig, image_shape: tuple[int, int, int]) -> FileSource:
    """Open `data.path` as a folder of images with `image_shape[2]` channels.

    Raises:
        DataError: there is no such folder or no image, images are bad, or labels are missing.
    """
    return FileSource(
        os.path.basename(os.path.abspath(data.path)),
        FolderFiles(data.path),
        data.labels,
        channels=image_shape[2],
        on_bad_image=data.on_bad_image,
        workers=data.workers,
    )
