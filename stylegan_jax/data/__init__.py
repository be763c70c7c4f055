"""Data: sources of images, their order, and batches. Training receives only `spec.Batch` from this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stylegan_jax.data.errors import BadImage, DataError
from stylegan_jax.data.fitted import FittedSource, Source, fit_source
from stylegan_jax.data.memory_source import MemorySource
from stylegan_jax.data.sources import SOURCES, describe_contents, describe_data, open_source
from stylegan_jax.data.video_source import check_examples

if TYPE_CHECKING:
    from stylegan_jax.data.batches import Batches, open_batches

__all__ = [
    "SOURCES",
    "BadImage",
    "Batches",
    "DataError",
    "FittedSource",
    "MemorySource",
    "Source",
    "check_examples",
    "describe_contents",
    "describe_data",
    "fit_source",
    "open_batches",
    "open_source",
]


def __getattr__(name: str) -> Any:
    """Import the modules that make batches on first use, because they need JAX and the data set tool does not."""
    if name in ("Batches", "open_batches"):
        from stylegan_jax.data import batches

        return getattr(batches, name)
    raise AttributeError(f"module 'stylegan_jax.data' has no attribute {name!r}")
