"""How a run's programs are traced and compiled: traced one at a time, compiled several at once."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from stylegan_jax.base.files import cache_folder

_tracing = threading.Lock()


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Let nobody else trace meanwhile, and collect no garbage.

    Tracing is all Python: threads that trace side by side wait for each other's interpreter lock and take longer than
    one after the other, and it makes so many objects that live on that collecting garbage is a fifth of the time.
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
    """Trace and lower a function under `jax.jit`, from arrays or their abstract shapes; for use in any thread."""
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


def use_compilation_cache(where: str) -> None:
    """Keep compiled programs on disk: 'auto' in the user's cache folder, 'off' not at all, else in that folder.

    `JAX_COMPILATION_CACHE_DIR` takes precedence over the folder of 'auto', and
    `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` over our half second.
    """
    if where == "off":
        return
    cache = cache_folder()
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR") or (None if cache is None else str(cache / "xla"))
    jax.config.update("jax_compilation_cache_dir", own if where == "auto" else where)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
