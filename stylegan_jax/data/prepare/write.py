"""Write the finished set as a zip or folder, atomically.

Everything is written to `.NAME.prepare-part` next to the destination, which is renamed when it is complete. The part is
locked while it is being written; the next run replaces what a killed run left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import zipfile
from typing import Protocol

from stylegan_jax.data.contents import META_NAME
from stylegan_jax.data.errors import DataError

FORMAT = "stylegan_jax prepared data set"
_OTHER_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".mdb", ".tfrecords", ".h5", ".hdf5", ".npz")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can contain; a fixed one makes the bytes reproducible
_UNIX = 3


class Writer(Protocol):
    """Receives the images one by one; a context manager that removes the part unless `finish` was called."""

    def add(self, name: str, data: bytes) -> None:
        """Write one member."""
        ...

    def add_folder(self, name: str) -> None:
        """Create a folder; in a zip, it gets its own entry, which the official reader of videos needs."""
        ...

    def mark(self) -> int:
        """Return the current position, for `rollback`."""
        ...

    def rollback(self, mark: int) -> None:
        """Remove everything added after a mark."""
        ...

    def finish(self) -> None:
        """Put the set in place."""
        ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, *error: object) -> None: ...


def member_name(index: int) -> str:
    """Return the name of image `index`, such as 00000/img00000000.png: a thousand per folder, as in official tools."""
    return f"{index:08d}"[:5] + f"/img{index:08d}.png"


def folder_name(index: int) -> str:
    """Return the name of the folder of video `index`, such as 000000."""
    return f"{index:06d}"


def frame_name(index: int) -> str:
    """Return the name of frame `index` in its video's folder, such as 000000.png."""
    return f"{index:06d}.png"


def root_of_videos(dest: str) -> str:
    """Return the folder that contains the videos, with a final '/': in a zip, its name; '' for a folder."""
    return os.path.splitext(os.path.basename(os.path.abspath(dest)))[0] + "/" if is_zip(dest) else ""


def check_dest(dest: str, source: str, overwrite: bool) -> None:
    """Check that a destination can and may be written, before anything is read.

    Raises:
        DataError: it exists and may not be replaced, or it and the source lie in each other.
    """
    if not dest:
        raise DataError("--dest is empty; pass a .zip or a folder")
    real, real_source = os.path.realpath(dest), os.path.realpath(source)
    if os.path.exists(source):
        for inner, outer in ((real, real_source), (real_source, real)):
            if inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep):
                raise DataError(f"--dest={dest} and --source={source} contain each other; choose another --dest")
    if is_zip(dest):
        if os.path.isdir(dest):
            raise DataError(f"--dest={dest} is a folder; choose a name without .zip for a folder")
        if os.path.exists(dest) and not overwrite:
            raise DataError(f"--dest={dest} exists; choose another, or replace it with --overwrite")
        return
    if dest.lower().endswith(_OTHER_ARCHIVES):
        raise DataError(f"--dest={dest}: only .zip files and folders are written")
    if not os.path.lexists(dest) or (os.path.isdir(dest) and not os.listdir(dest)):
        return
    if not os.path.isdir(dest):
        raise DataError(f"--dest={dest} is a file; pass a .zip or a folder")
    if not overwrite:
        raise DataError(f"--dest={dest} is not empty; choose another, or replace it with --overwrite")
    if not _is_ours(dest):
        raise DataError(
            f"--dest={dest} was not made by this tool (it lacks its {META_NAME}), so --overwrite does not delete it; "
            "choose another"
        )


def is_zip(dest: str) -> bool:
    """Return whether a destination is a zip, rather than a folder."""
    return dest.lower().endswith(".zip")


def _is_ours(folder: str) -> bool:
    try:
        with open(os.path.join(folder, META_NAME), "rb") as file:
            return json.load(file).get("format") == FORMAT
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def open_writer(dest: str) -> Writer:
    """Begin to write a zip or folder.

    Raises:
        DataError: it cannot be created, or another run is writing it.
    """
    folder, name = os.path.split(os.path.abspath(dest))
    dest, part = os.path.join(folder, name), os.path.join(folder, f".{name}.prepare-part")
    try:
        os.makedirs(folder, exist_ok=True)
        return _ZipWriter(dest, part) if is_zip(dest) else _FolderWriter(dest, part)
    except BlockingIOError as error:
        raise DataError(
            f"--dest: {part} is being written by another run; wait for it, or choose another --dest"
        ) from error
    except OSError as error:
        raise DataError(
            f"--dest: {part} cannot be written: {error.strerror or error}; choose another --dest"
        ) from error


def _lock(fd: int, path: str) -> None:
    """Lock an open file or folder, unless the file system has no locks; if another run holds the lock, close it and
    raise BlockingIOError."""
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        if not os.path.samestat(os.fstat(fd), os.stat(path)):  # another run has just put it in place
            raise BlockingIOError
    except OSError as error:
        os.close(fd)
        raise BlockingIOError from error


class _ZipWriter:
    def __init__(self, dest: str, part: str):
        self._dest, self._part, self._done = dest, part, False
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        _lock(fd, part)
        self._file = os.fdopen(fd, "r+b")
        self._file.truncate()
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)

    def add(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.create_system, info.external_attr = _UNIX, 0o644 << 16
        self._zip.writestr(info, data)

    def add_folder(self, name: str) -> None:
        parts = name.split("/")
        for i in range(1, len(parts) + 1):
            info = zipfile.ZipInfo("/".join(parts[:i]) + "/", _EPOCH)
            info.create_system, info.external_attr = _UNIX, 0o40755 << 16
            if info.filename not in self._zip.NameToInfo:
                self._zip.writestr(info, b"")

    def mark(self) -> int:
        return len(self._zip.filelist)

    def rollback(self, mark: int) -> None:
        dropped = self._zip.filelist[mark:]
        for info in dropped:
            del self._zip.NameToInfo[info.filename]
        del self._zip.filelist[mark:]
        if dropped:
            self._zip.start_dir = dropped[0].header_offset  # where the next member goes
            self._file.flush()
            self._file.truncate(self._zip.start_dir)

    def finish(self) -> None:
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._part, self._dest)
        self._done = True

    def __enter__(self) -> _ZipWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._done:
            with contextlib.suppress(OSError):
                os.unlink(self._part)
            with contextlib.suppress(OSError, ValueError):
                self._zip.close()  # writes a directory to the unlinked file, for which the disk may be too full
        with contextlib.suppress(OSError):
            self._file.close()


class _FolderWriter:
    def __init__(self, dest: str, part: str):
        self._dest, self._part, self._done = dest, part, False
        os.makedirs(part, exist_ok=True)
        self._fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        _lock(self._fd, part)
        self._names: list[str] = []
        for left in os.scandir(part):  # of a run that was killed
            shutil.rmtree(left.path) if left.is_dir(follow_symlinks=False) else os.unlink(left.path)

    def add(self, name: str, data: bytes) -> None:
        path = os.path.join(self._part, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._names.append(name)
        with open(path, "wb") as file:
            file.write(data)

    def add_folder(self, name: str) -> None:
        os.makedirs(os.path.join(self._part, name), exist_ok=True)

    def mark(self) -> int:
        return len(self._names)

    def rollback(self, mark: int) -> None:
        dropped = self._names[mark:]
        del self._names[mark:]
        for name in dropped:
            os.unlink(os.path.join(self._part, name))
        for folder in {os.path.dirname(name) for name in dropped}:
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(os.path.join(self._part, folder))

    def finish(self) -> None:
        os.sync()
        if os.path.isdir(self._dest):
            old = tempfile.mkdtemp(prefix=f".{os.path.basename(self._dest)}.old-", dir=os.path.dirname(self._dest))
            os.rename(self._dest, old)
            os.rename(self._part, self._dest)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(self._part, self._dest)
        self._done = True

    def __enter__(self) -> _FolderWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._done:
            shutil.rmtree(self._part, ignore_errors=True)
        os.close(self._fd)
