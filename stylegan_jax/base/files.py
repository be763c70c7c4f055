"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def from_environment(variable: str) -> Path | None:
    """Return the path in an environment variable, with `~` expanded; None if it is unset or empty."""
    named = os.environ.get(variable)
    return Path(os.path.expanduser(named)) if named else None


def cache_folder() -> Path | None:
    """Return this package's folder in the user's cache; None for a user without a home, as in some containers."""
    try:
        return (from_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "stylegan_jax"
    except RuntimeError:
        return None


@contextlib.contextmanager
def replacing(path: Path, ending: str = ".part") -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` at the end: a reader never sees half a file.

    After an error the temporary file is deleted and `path` is unchanged.

    Args:
        path: the file to write; its folder exists.
        ending: suffix of the temporary name; processes that may write the same file at once need different ones.
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
    """Write a file; a reader never sees a partial one. Text is written as UTF-8."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
