"""One-sentence explanations of a full machine: no memory left on the host or the device, no room on a disk."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
from pathlib import Path

_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory|OUT_OF_MEMORY|ALLOC_FAILED|bad_alloc", re.IGNORECASE)
_HUGE = re.compile(r"array is too big|Maximum allowed (size|dimension) exceeded")
"""What NumPy raises for a size beyond any machine's memory."""
_AMOUNT = re.compile(r"(?:allocat\w+|Used)\s+(\d+(?:\.\d+)?)\s*((?:[KMGTP]i?)?B|bytes?|[KMGTP])\b", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DISK = {
    errno.ENOSPC: (
        "No space left on device",
        "no room left on the disk of {place}{free}; free some, or choose another",
    ),
    errno.EDQUOT: ("Disk quota exceeded", "the disk quota of {place} is used up; free some, or choose another"),
    errno.EROFS: ("Read-only file system", "{place} lies on a read-only file system; choose another"),
}
GPU_HINT = (
    "; if another program holds the card, end it, or see XLA_PYTHON_CLIENT_PREALLOCATE and "
    "XLA_PYTHON_CLIENT_MEM_FRACTION in docs/launch.md"
)


def explain(error: BaseException, less: str, place: object = None, choice: str = "--out") -> str:
    """Return a sentence that explains an out-of-memory or full-disk error; '' for any other error.

    Args:
        error: from Python, NumPy, JAX, Pillow, safetensors or TensorFlow.
        less: the end of the sentence about memory: how to need less, such as 'lower --batch=64'.
        place: the file or folder that was being written, in case the error does not name one; None: unknown.
        choice: the flag or key that names another place.
    """
    return _explain_memory(error, less) or _explain_disk(error, place, choice)


def is_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the machine or of a device ran out."""
    if isinstance(error, OverflowError) or (isinstance(error, ValueError) and _HUGE.search(str(error))):
        return True
    of_device = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError", "ResourceExhaustedError")
    return isinstance(error, MemoryError) or (of_device and bool(_MEMORY.search(str(error))) and not _disk_code(error))


def _explain_memory(error: BaseException, less: str) -> str:
    if not is_memory(error):
        return ""
    found = _AMOUNT.search(str(error))
    amount = f" ({_readable(*found.groups())} asked for)" if found else ""
    return f"out of memory{amount}; {less}{GPU_HINT if _has_gpu() else ''}"


def _readable(number: str, unit: str) -> str:
    """Return an amount in any unit, read as powers of 1024, as '12.3 GiB'."""
    size = float(number) * 1024 ** _UNITS.get(unit[:1].lower() if unit[:1].lower() != "b" else "", 0)
    for name in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {name}" if name == "bytes" else f"{size:.1f} {name}"
        size /= 1024
    return f"{size:.1f} TiB"


def _has_gpu() -> bool:
    jax = sys.modules.get("jax")
    with contextlib.suppress(Exception):  # no backend, where it is not JAX that ran out
        return jax is not None and jax.default_backend() == "gpu"
    return False


def _disk_code(error: BaseException) -> int | None:
    """Return ENOSPC, EDQUOT or EROFS from an OSError or from the text of other libraries' errors."""
    if isinstance(error, OSError) and error.errno in _DISK:
        return error.errno
    text = str(error)
    return next((code for code, (words, _) in _DISK.items() if words in text), None)


def _explain_disk(error: BaseException, place: object, choice: str) -> str:
    code = _disk_code(error)
    if code is None:
        return ""
    place = getattr(error, "filename", None) or place
    if place is None:
        place = "what is being written"
        free = ""
    else:
        free = _free(Path(os.fsdecode(str(place))))
    return _DISK[code][1].format(place=place, free=free) + f" {choice}"


def _free(path: Path) -> str:
    """Return how much room is left on the disk of a path, or ''."""
    for folder in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 2**20:.1f} MiB free)"
    return ""
