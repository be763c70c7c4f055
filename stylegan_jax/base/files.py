"""Files that are written whole or not at all, and arrays in .npz files."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def cache_folder() -> Path | None:
    """Return our folder among the user's caches; None for a user without a home, as in some containers."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stylegan_jax"
    except RuntimeError:
        return None


@contextlib.contextmanager
def replacing(path: Path, ending: str = ".part") -> Iterator[Path]:
    """Yield the path of a part to write, which takes the place of `path` at the end: a reader never sees half a file.

    After an error the part is deleted and `path` is as before.

    Args:
        path: the file to write; its folder exists.
        ending: of the part's name; processes that may write the same file at once need endings of their own.
    """
    part = path.with_name(path.name + ending)
    try:
        yield part
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file; a reader never sees a part of it. Text is written as UTF-8."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def read_npz(flag: str, path: str, names: tuple[str, ...]) -> list[np.ndarray]:
    """Return arrays of an .npz file.

    Raises:
        ValueError: no such file, none of that kind, or an array that is missing.
    """
    try:
        found = load_npz(path, names)
    except ValueError as error:
        raise ValueError(f"{flag}={path} is no .npz file with {', '.join(map(repr, names))}: {error}") from None
    return [found[name] for name in names]


def load_npz(path: str | Path, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Return arrays of an .npz file by name; without `names`, all.

    Raises:
        ValueError: no such file, none of that kind, a damaged one, or an array that is missing.
    """
    bad = (OSError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in (file.files if names is None else names)}
    except bad as error:
        raise ValueError(str(error)) from None


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays as .npz; a reader never sees a part of it."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
