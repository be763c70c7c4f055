"""Tracing and compiling a run's programs: they are traced one at a time and compiled several at once."""

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

_CHECKED = ".checked"  # in a folder of compiled programs: when they were last looked through
_WRITING_S = 60.0  # programs that were being written then are looked at again
_ZSTD = b"\x28\xb5\x2f\xfd"


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Let no other thread trace meanwhile, and collect no garbage.

    Tracing is pure Python. Threads that trace at the same time wait for the interpreter lock and take longer than one
    after the other, and tracing creates so many long-lived objects that collecting garbage takes a fifth of the time.
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
    """Trace and lower a function under `jax.jit`, from arrays or their abstract shapes; safe in any thread."""
    with tracing():
        return jitted.lower(*args)


def compile_programs(jitted: Mapping[str, Any], arguments: Mapping[str, tuple]) -> dict[str, Any]:
    """Compile programs by name, several at a time, from their arguments: arrays or abstract shapes."""

    def compile_one(name: str) -> tuple[str, Any]:
        return name, lower(jitted[name], *arguments[name]).compile()

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(pool.map(compile_one, arguments))


def quick_options() -> dict[str, Any] | None:
    """Return compiler options for programs that run rarely: on CPU, compile fast rather than well."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def drop_damaged(folder: Path) -> None:
    """Delete incomplete compiled programs among those written since the last check of the folder.

    A process that is killed while it writes one leaves a partial file. JAX would warn about it at every start, compile
    the program again, and never replace the file.
    """
    stamp, now = folder / _CHECKED, time.time()
    with contextlib.suppress(OSError):  # no such folder yet, or one that cannot be written
        last = stamp.stat().st_mtime if stamp.exists() else 0.0
        for path in folder.glob("*-cache"):
            with contextlib.suppress(OSError):  # another process was faster
                if last - _WRITING_S <= path.stat().st_mtime <= now - 1 and not _is_whole(path.read_bytes()):
                    path.unlink()
        stamp.touch()
        os.utime(stamp, (now, now))


def _is_whole(entry: bytes) -> bool:
    """Return whether an entry of JAX's cache can be decompressed; one that needs a missing package counts as whole."""
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
    """Keep compiled programs in a folder; 'auto': in the user's cache, 'off': nowhere.

    `JAX_COMPILATION_CACHE_DIR` takes precedence over the folder of 'auto', and
    `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` over our half second.
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
