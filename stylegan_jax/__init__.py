"""The StyleGAN family in pure-functional JAX and Flax."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from stylegan_jax import _moved

__version__ = "0.2.0"
STARTED = time.monotonic()
"""When Python began to run this package, which commands import first."""

if TYPE_CHECKING:
    from stylegan_jax.base.errors import StyleganError
    from stylegan_jax.sampling.load import load_model

__all__ = ["StyleganError", "__version__", "load_model"]
_LAZY = {"StyleganError": "stylegan_jax.base.errors", "load_model": "stylegan_jax.sampling.load"}
_moved.install()


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package costs nothing."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'stylegan_jax' has no attribute {name!r}")
