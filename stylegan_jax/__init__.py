"""The StyleGAN family in pure-functional JAX and Flax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stylegan_jax import _moved

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stylegan_jax.sampling.load import load_model

__all__ = ["__version__", "load_model"]
_moved.install()


def __getattr__(name: str) -> Any:
    """Import `load_model` on first use, so that importing the package costs nothing."""
    if name == "load_model":
        from stylegan_jax.sampling.load import load_model

        return load_model
    raise AttributeError(f"module 'stylegan_jax' has no attribute {name!r}")
