"""Arrays in untrusted .npz and .npy files: headers are read and sizes checked before any array is."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from stylegan_jax.base.files import replacing

MAX_BYTES = 1 << 30
"""Limit for all arrays that are read from one file."""
MAX_ARRAYS = 10_000
NUMBERS = "fiu"
"""Kinds of numeric dtypes: floating point, integers, unsigned integers."""
_ZIP, _NPY = b"PK", b"\x93NUMPY"
_BAD = (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile raises on damaged or hostile bytes, besides ValueError."""


class Header(NamedTuple):
    """The header of an array in a file: shape, dtype, and the order of its axes there."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    def __str__(self) -> str:
        """Return it as 'float32[1, 6, 12]'."""
        return f"{self.dtype}{list(self.shape)}"

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(path: str | Path) -> dict[str, Header]:
    """Return the headers of an .npz file by name, or that of an .npy file as ''. The content decides, not the name.

    Raises:
        ValueError: the file is missing, of another kind, or damaged.
    """
    with _refusing(), _Arrays(path) as found:
        return {name: found.header(name) for name in found.names}


def load(path: str | Path, names: tuple[str, ...] | None = None, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return the numeric arrays of an .npz file by name, or that of an .npy file as ''.

    Args:
        path: the file.
        names: of the arrays; None: all.
        most: the bytes that all of them together may have.

    Raises:
        ValueError: the file is missing, of another kind or damaged, or an array is missing, too large or not numeric.
    """
    with _refusing(), _Arrays(path) as found:
        names = tuple(found.names) if names is None else names
        for name in names:
            if name not in found.names:
                raise ValueError(f"it has no {name!r}, but {listed(list(found.names))}")
        headers = {name: found.header(name) for name in names}
        total = 0
        for name, header in headers.items():
            total += header.nbytes
            if header.dtype.kind not in NUMBERS:
                raise ValueError(f"{_called(name)} is {header}, not real numbers")
            if total > most:
                raise ValueError(f"{_called(name)} is {header}; more than {most >> 20} MiB are not read")
        return {name: found.values(name, header) for name, header in headers.items()}


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn the errors that damaged bytes cause into ValueError."""
    try:
        yield
    except zipfile.BadZipFile as error:
        raise ValueError(f"a damaged zip archive ({error}), as a download that was cut off ends") from None
    except _BAD as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from None


class _Arrays:
    """An open .npz or .npy file."""

    def __init__(self, path: str | Path):
        if not os.path.isfile(path):
            raise ValueError("it is not a regular file" if os.path.exists(path) else "no such file")
        self._file = open(path, "rb")  # noqa: SIM115, closed by __exit__
        try:
            start = self._file.read(len(_NPY))
            self._file.seek(0)
            self.names: dict[str, Callable[[], Any]] = {}
            if start == _NPY:
                self.names[""] = lambda: self._file
            elif start.startswith(_ZIP):
                self._add_members()
            else:
                raise ValueError(_what(start))
        except BaseException:
            self._file.close()
            raise

    def _add_members(self) -> None:
        archive = zipfile.ZipFile(self._file)
        members = archive.infolist()
        if any(member.filename.endswith("data.pkl") for member in members):
            raise ValueError("it is a file of torch.save; save the tensor by numpy.savez(FILE, w=tensor.numpy())")
        if len(members) > MAX_ARRAYS:
            raise ValueError(f"it has {len(members)} members; at most {MAX_ARRAYS} are read")
        for member in members:
            if member.flag_bits & 1:
                raise ValueError(f"{member.filename!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename!r} is compressed in a way that NumPy does not use")
            if member.filename.endswith(".npy"):
                self.names[member.filename.removesuffix(".npy")] = lambda member=member: archive.open(member)

    def header(self, name: str) -> Header:
        """Read an array's header."""
        with self._opened(name) as file:
            return _read_header(file, name)

    def values(self, name: str, header: Header) -> np.ndarray:
        """Read an array's values, as many as its header states."""
        with self._opened(name) as file:
            _read_header(file, name)
            raw = file.read(header.nbytes)
        if len(raw) != header.nbytes:
            raise ValueError(f"{_called(name)} is cut off: {len(raw)} of {header.nbytes} bytes")
        return np.frombuffer(raw, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        """Close a member of a zip at the end; an .npy file is rewound to its start."""
        file = self.names[name]()
        try:
            yield file
        finally:
            file.seek(0) if file is self._file else file.close()

    def __enter__(self) -> _Arrays:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _read_header(file: BinaryIO, name: str) -> Header:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
        header = Header(shape, dtype, fortran)
        sound = all(0 <= size < 1 << 48 for size in shape) and len(shape) <= 32
    except (zipfile.BadZipFile, zlib.error, OSError):
        raise
    except Exception:  # NumPy hands the text of a header to Python's own parser, which raises almost anything
        sound = False
    if not sound:
        raise ValueError(f"the header of {_called(name)} is damaged")
    return header


def _called(name: str) -> str:
    return repr(name) if name else "the array"


def listed(found: Sequence[str]) -> str:
    """Return the first names of a list, escaped, and how many more there are; for error messages."""
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(map(repr, found[:8])) + more if found else "nothing"


def _what(start: bytes) -> str:
    return f"it begins with {start!r}, as neither .npz nor .npy does" if start else "it is empty"


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays as .npz; a reader never sees a partial file."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
