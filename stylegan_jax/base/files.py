"""Files that are written whole or not at all, and arrays in .npz files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np


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
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)
