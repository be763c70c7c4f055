"""Trace and compile programs: one trace at a time, several compilations at once."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from stylegan_jax.base.files import cache_folder

_tracing = threading.Lock()

_CHECKED = ".checked"  # its modification time says when the folder's compiled programs were last checked
_WRITING_S = 60.0  # programs written within this time before the last check are checked again
_ZSTD = b"\x28\xb5\x2f\xfd"


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Keep other threads from tracing, and switch off garbage collection.

    Tracing is pure Python: threads that trace at the same time contend for the interpreter lock and together take
    longer than one after the other. Garbage collection would take a fifth of the time, because tracing creates many
    long-lived objects.
    """
    with _tracing:
        collected = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collected:
                gc.enable()


def lower(jitted: Any, *args: Any) -> jax.stages.Lowered:
    """Trace and lower a jitted function for arguments that are arrays or abstract shapes; safe in any thread."""
    with tracing():
        return jitted.lower(*args)


def compile_programs(jitted: Mapping[str, Any], arguments: Mapping[str, tuple]) -> dict[str, Any]:
    """Compile programs by name, several at once, for arguments that are arrays or abstract shapes."""

    def compile_one(name: str) -> tuple[str, Any]:
        return name, lower(jitted[name], *arguments[name]).compile()

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(pool.map(compile_one, arguments))


def quick_options() -> dict[str, Any] | None:
    """Return compiler options for programs that run rarely: on CPU, no optimisation."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def drop_damaged(folder: Path) -> None:
    """Delete incomplete files among the compiled programs written since the folder was last checked.

    A process that is killed while writing one leaves a partial file. JAX would warn about it at every start, compile
    the program again, and never replace the file.
    """
    stamp, now = folder / _CHECKED, time.time()
    with contextlib.suppress(OSError):  # the folder does not exist yet or is read-only
        last = stamp.stat().st_mtime if stamp.exists() else 0.0
        for path in folder.glob("*-cache"):
            with contextlib.suppress(OSError):  # another process may have deleted it first
                if last - _WRITING_S <= path.stat().st_mtime <= now - 1 and not _is_whole(path.read_bytes()):
                    path.unlink()
        stamp.touch()
        os.utime(stamp, (now, now))


def _is_whole(entry: bytes) -> bool:
    """Return whether an entry of JAX's cache can be decompressed; True if the package for it is not installed."""
    if entry.startswith(_ZSTD):
        try:
            zstandard = importlib.import_module("zstandard")
        except ImportError:
            return True
        try:
            zstandard.ZstdDecompressor().decompress(entry)
        except zstandard.ZstdError:
            return False
        return True
    try:
        zlib.decompress(entry)
    except zlib.error:
        return False
    return True


def use_compilation_cache(where: str) -> None:
    """Store compiled programs in the folder `where`; 'auto': the user's cache folder, 'off': nowhere.

    `JAX_COMPILATION_CACHE_DIR` takes precedence over 'auto', and `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` over our
    half second.
    """
    if where == "off":
        return
    cache = cache_folder()
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR") or (None if cache is None else str(cache / "xla"))
    folder = own if where == "auto" else where
    jax.config.update("jax_compilation_cache_dir", folder)
    if folder and "://" not in folder:
        drop_damaged(Path(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
