"""Bounded access to the bytes of an untrusted file."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np

from stylegan_jax.base.errors import StyleganError

CHUNK = 1 << 14
MAX_STEPS = 2_000_000
"""Limit of the steps for reading one file; official files need some ten thousand opcodes per network."""


class RefusedError(StyleganError):
    """The input needs something that is not on the allow-list, or exceeds a limit."""


class Budget:
    """Counts allocated bytes and steps, so that a small file cannot exhaust memory or time.

    Args:
        limit: bytes that may be allocated in total.
    """

    def __init__(self, limit: int):
        """Start with nothing spent."""
        self.left = limit
        self.steps = MAX_STEPS

    def charge(self, nbytes: int) -> None:
        """Spend `nbytes`.

        Raises:
            RefusedError: the limit is exceeded.
        """
        self.left -= nbytes
        if self.left < 0:
            raise RefusedError("the file expands to far more data than its size can hold")

    def step(self, count: int) -> None:
        """Spend steps: one per opcode, and one per item that a call visits or copies.

        Raises:
            RefusedError: the limit is exceeded.
        """
        self.steps -= count
        if self.steps < 0:
            raise RefusedError(f"reading it takes more than {MAX_STEPS} steps")


class Window:
    """Reads forward through a range of a seekable file; windows on one file are independent.

    Args:
        file: binary file, seekable.
        start: first byte of the window.
        stop: one past its last byte.
    """

    def __init__(self, file: BinaryIO, start: int, stop: int):
        """Set the position to `start`."""
        self._file = file
        self._next = start  # file offset of the first byte that is not in _buffer
        self._stop = stop
        self._buffer = b""
        self._at = 0

    @classmethod
    def of_bytes(cls, data: bytes) -> Window:
        """Return a window on all of `data`."""
        return cls(io.BytesIO(data), 0, len(data))

    @property
    def remaining(self) -> int:
        """Bytes between the position and the end of the window."""
        return self._stop - self._next + len(self._buffer) - self._at

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes.

        Raises:
            EOFError: the window, or the file, ends before that.
        """
        end = self._at + count
        if end <= len(self._buffer):
            data = self._buffer[self._at : end]
            self._at = end
            return data
        if count > self.remaining:
            raise EOFError(f"needs {count} bytes where {self.remaining} are left")
        head = self._buffer[self._at :]
        want = max(count - len(head), min(CHUNK, self._stop - self._next))
        self._file.seek(self._next)
        fresh = self._file.read(want)
        if len(fresh) != want:
            raise EOFError("the file is shorter than it was when it was opened")
        self._next += want
        used = count - len(head)
        self._buffer, self._at = fresh, used
        return head + fresh[:used]

    def line(self, limit: int = 1 << 16) -> bytes:
        """Return the bytes up to the next newline, without it.

        Raises:
            RefusedError: the line is longer than `limit`.
        """
        out = bytearray()
        while True:
            end = self._buffer.find(b"\n", self._at)
            end = len(self._buffer) if end < 0 else end
            out += self._buffer[self._at : end]
            self._at = end
            byte = self.read(1)  # the newline, or the first byte behind the buffer
            if byte == b"\n":
                return bytes(out)
            out += byte
            if len(out) > limit:
                raise RefusedError(f"a text line is longer than {limit} bytes")

    def unsigned(self, width: int) -> int:
        """Return a little-endian unsigned integer of `width` bytes."""
        return int.from_bytes(self.read(width), "little")

    def split(self, count: int) -> Window:
        """Return a window on the next `count` bytes and skip them without reading.

        Raises:
            EOFError: fewer bytes are left.
        """
        if count > self.remaining:
            raise EOFError(f"needs {count} bytes where {self.remaining} are left")
        position = self._next - (len(self._buffer) - self._at)
        self._next = position + count
        self._buffer, self._at = b"", 0
        return Window(self._file, position, position + count)

    def copy(self) -> Window:
        """Return an independent window on the remaining bytes."""
        return Window(self._file, self._stop - self.remaining, self._stop)

    def array(self, dtype: np.dtype, count: int, budget: Budget) -> np.ndarray:
        """Read `count` items into a fresh, aligned array.

        Args:
            dtype: item type, native or little-endian.
            count: number of items.
            budget: charged for the bytes of the array.

        Returns:
            dtype[count], read-only.

        Raises:
            EOFError: fewer bytes are left.
        """
        nbytes = count * dtype.itemsize
        source = self.split(nbytes)
        budget.charge(nbytes)
        out = np.empty(count, dtype)
        view = out.view(np.uint8).data
        self._file.seek(source._next)
        done = 0
        while done < nbytes:
            got = self._file.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                raise EOFError("the file is shorter than it was when it was opened")
            done += got
        out.flags.writeable = False
        return out


def signed(data: bytes) -> int:
    """Return the little-endian signed 64-bit integer in `data`."""
    return struct.unpack("<q", data)[0]


def show(value: object) -> str:
    """Return a short text for an error message; printing a nested container could take exponential time."""
    value = value[:80] if isinstance(value, str | bytes) else value
    return repr(value)[:80] if isinstance(value, str | bytes | int | float | None) else f"a {type(value).__name__}"
