"""Arrays on disk under the digest of what they were computed from: statistics of real images, and unfinished passes.

An entry is one .npz, sealed with a digest of its content. It is written next to its place and renamed, so a reader
never sees half of one; an unreadable one is computed again, with a warning. A problem with the folder costs time, but
never a metric.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.files import cache_folder, from_environment, replacing
from stylegan_jax.base.trees import array_bytes, json_bytes

log = logging.getLogger(__name__)

VARIABLE = "STYLEGAN_JAX_METRICS_CACHE"
"""Environment variable that names the folder."""
KEPT_DAYS = 30
"""Days that an unfinished pass is kept."""
_FORMAT = 1  # part of every key: raise it when what an entry means changes


def default_folder() -> Path | None:
    """Return the folder named by `VARIABLE`, else one in the user's cache folder; None without a home."""
    if named := from_environment(VARIABLE):
        return named
    cache = cache_folder()
    return None if cache is None else cache / "metrics"


def digest_of(identity: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits that change with any part of a nested dict of plain values."""
    return hashlib.sha256(json_bytes([_FORMAT, identity])).hexdigest()[:32]


class Store:
    """Entries in a folder.

    Args:
        folder: created with the first entry; None: nothing is kept.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        self.folder = None if folder is None else Path(folder)

    def load(self, kind: str, identity: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Return an entry's arrays; None if there is none, or it is damaged."""
        path = self._path(kind, identity)
        if path is None:
            return None
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            seal = arrays.pop("seal").tobytes()
            if seal != _seal(identity, arrays):
                raise ValueError("its content is not what was written")
            return arrays
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # damaged zips raise almost anything
            log.warning(
                "%s is damaged or cannot be read (%s); it is computed again",
                path,
                str(error)[:120] or type(error).__name__,
            )
            return None

    def save(self, kind: str, identity: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Write an entry. A folder that cannot be written costs the entry, not the metric."""
        path = self._path(kind, identity)
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, f".{os.getpid()}.part") as part, part.open("wb") as file:
                seal = np.frombuffer(_seal(identity, arrays), np.uint8)
                np.savez(file, allow_pickle=False, seal=seal, **arrays)
        except OSError as error:
            log.warning("%s cannot be written (%s); it will be computed again", path, error.strerror or error)

    def remove(self, kind: str, identity: Mapping[str, Any]) -> None:
        """Delete an entry, if it exists and can be deleted; otherwise `sweep` deletes it later."""
        path = self._path(kind, identity)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()

    def sweep(self) -> None:
        """Delete passes and partial entries that have not been written for `KEPT_DAYS`."""
        if self.folder is None:
            return
        oldest = time.time() - KEPT_DAYS * 86400
        found: list[Path] = []
        with contextlib.suppress(OSError):
            found = [*self.folder.glob("pass-*.npz"), *self.folder.glob("*.part")]
        for path in found:
            with contextlib.suppress(OSError):  # another process was faster
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _path(self, kind: str, identity: Mapping[str, Any]) -> Path | None:
        return None if self.folder is None else self.folder / f"{kind}-{digest_of(identity)}.npz"


def _seal(identity: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256(json_bytes(identity))
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode())
        digest.update(array_bytes(arrays[name]))
    return digest.digest()
