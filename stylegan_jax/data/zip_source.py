"""Images in a zip with the layout of the official StyleGAN tools: any names, and `dataset.json`.

Nothing is extracted: members are read at their offsets with positional reads, so threads and forked processes share one
file without a lock. Every read verifies the member's checksum.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO

from stylegan_jax.base import bundled
from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data import images
from stylegan_jax.data.contents import list_contents
from stylegan_jax.data.errors import BadImage, DataError, missing_path_error, printable, wrong_kind
from stylegan_jax.data.files import FileSource
from stylegan_jax.data.labels import MAX_JSON_BYTES

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_MAX_RATIO = 100  # of unpacked to packed bytes, above _RATIO_FROM bytes; small images of one colour may exceed it
_RATIO_FROM = 1 << 24
_ENCRYPTED = 1
_UNIX = 3  # value of create_system if a member has Unix permission bits


class ZipFiles:
    """`files.Files` over a zip; see the module.

    Args:
        path: the zip.

    Raises:
        DataError: it is not a readable zip.
    """

    has_checksums = True

    def __init__(self, path: str):
        self.where = path
        members = _directory(path)
        folders = [i.filename for i in members if i.filename.endswith(("/", "\\"))]
        self._members = [i for i in members if not i.filename.endswith(("/", "\\"))]
        self._size = os.path.getsize(path)
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            names = [info.filename for info in self._members]
            self.contents = list_contents(
                names, self._head, folders=folders, identity=lambda i: _identity(self._members[i])
            )
        except BaseException:
            self.close()
            raise
        self.names: list[str] = []
        self.bad = self.contents.bad
        self._infos: list[tuple[int, int, int, int, int]] = []
        for name, number in zip(self.contents.names, self.contents.numbers, strict=True):
            info = self._members[number]
            reason = _refusal(info, self._size)
            if reason:
                self.bad.append((name, reason))
            else:
                self.names.append(name)
                self._infos.append(_entry(info))
        self.contents.names = self.names

    def read(self, index: int) -> bytes:
        """Return the unpacked bytes of one member, after verifying its checksum."""
        return self._unpack(self._infos[index])

    def open(self, index: int) -> BinaryIO:
        """Return one member as a seekable file; uncompressed members are not read as a whole."""
        offset, packed, _, method, _ = self._infos[index]
        if method != zipfile.ZIP_STORED:
            return io.BytesIO(self.read(index))
        return io.BufferedReader(_Slice(self._fd, self._data_offset(offset), packed), 4096)  # type: ignore[return-value]

    def digest(self, index: int) -> bytes:
        """Return checksum and size of one member, from the directory."""
        _, _, size, _, crc = self._infos[index]
        return struct.pack("<QI", size, crc)

    def _head(self, number: int) -> bytes:
        """Return the first bytes of a member; b'' if it cannot be read."""
        info = self._members[number]
        if _refusal(info, self._size):
            return b""
        try:
            start = self._data_offset(info.header_offset)
            data = os.pread(self._fd, min(info.compress_size, 512), start)
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, 64) if info.compress_type else data[:64]
        except (BadImage, OSError, zlib.error):
            return b""

    def read_json(self, number: int) -> bytes:
        """Return the bytes of a dataset.json, by its position in the list that `contents` classified.

        Raises:
            DataError: it is damaged or too large.
        """
        info = self._members[number]
        reason = _refusal(info, self._size)
        if info.file_size > MAX_JSON_BYTES:
            reason = f"claims {info.file_size} bytes; the limit is {MAX_JSON_BYTES}; use an .npz of images and labels"
        try:
            if reason:
                raise BadImage(reason)
            return self._unpack(_entry(info))
        except (BadImage, OSError) as error:
            raise DataError(f"{self.where}/{printable(info.filename)}: {error}") from error

    def close(self) -> None:
        """Close the file; reading afterwards raises an error."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _data_offset(self, header_offset: int) -> int:
        header = os.pread(self._fd, _LOCAL_HEADER.size, header_offset)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
            raise BadImage("damaged zip: no member starts where the directory says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        return header_offset + _LOCAL_HEADER.size + name_length + extra_length

    def _unpack(self, entry: tuple[int, int, int, int, int]) -> bytes:
        offset, packed, size, method, crc = entry
        data = os.pread(self._fd, packed, self._data_offset(offset))
        if len(data) < packed:
            raise BadImage("damaged zip: the file ends inside this member")
        if method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            except zlib.error as error:
                raise BadImage(f"damaged zip: {error}") from error
        if len(data) != size or zlib.crc32(data) != crc:
            raise BadImage("damaged zip: size or checksum is wrong")
        return data


class _Slice(io.RawIOBase):
    """A part of an open file, read by position; independent of the file's own position."""

    def __init__(self, fd: int, start: int, size: int):
        self._fd, self._start, self._size, self._at = fd, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[override]
        data = os.pread(self._fd, max(0, min(len(buffer), self._size - self._at)), self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _directory(path: str) -> list[zipfile.ZipInfo]:
    if os.path.isdir(path):
        raise ConfigError(f"config.data.path is {path!r}, a folder; use --config.data.source=folder")
    if not os.path.exists(path):
        raise missing_path_error(path, "zip")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DataError(f"{path}: not a regular file")
    if not os.path.getsize(path):
        raise DataError(f"{path}: the file is empty (0 bytes); copy it again")
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile raises almost anything on damaged directories
        if what := wrong_kind(path):
            raise DataError(f"{path}: {what}") from error
        raise DataError(
            f"{path}: not a zip, or its directory is damaged or cut off ({error}); copy it again"
        ) from error


def _entry(info: zipfile.ZipInfo) -> tuple[int, int, int, int, int]:
    return info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC


def _identity(info: zipfile.ZipInfo) -> tuple[int, int]:
    return info.CRC, info.file_size


def _refusal(info: zipfile.ZipInfo, zip_size: int) -> str:
    """Return why a member is not read; '' if it is fine."""
    if info.flag_bits & _ENCRYPTED:
        return "encrypted; unpack and pack it again without a password"
    if info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
        return "a link, which is not followed"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"packed by method {info.compress_type}; use stored or deflated"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return "damaged zip: a stored member with two sizes"
    if info.header_offset < 0 or info.header_offset + info.compress_size > zip_size:
        return "damaged zip: the file ends inside this member"
    if max(info.file_size, info.compress_size) > images.MAX_BYTES:
        return f"claims {info.file_size} bytes; the limit is {images.MAX_BYTES}"
    if info.file_size > max(_RATIO_FROM, _MAX_RATIO * info.compress_size):
        return f"{info.compress_size} bytes unpack to {info.file_size} (decompression bomb)"
    return ""


def open_zip(data: DataConfig, image_shape: tuple[int, int, int]) -> FileSource:
    """Open `data.path` as a zip of images with `image_shape[2]` channels; bundled zips are found from any folder.

    Raises:
        DataError: it is not a zip, has no images or bad ones, or labels are missing.
    """
    files = ZipFiles(bundled.find_data(data.path))
    try:
        return FileSource(
            os.path.splitext(os.path.basename(data.path))[0],
            files,
            data.labels,
            channels=image_shape[2],
            on_bad_image=data.on_bad_image,
            workers=data.workers,
        )
    except BaseException:
        files.close()
        raise
