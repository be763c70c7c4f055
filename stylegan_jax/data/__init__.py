"""Data: sources of images, their order, and batches. Meets the rest of the project only through `spec.Batch`."""

from stylegan_jax.data.batches import Batches, open_batches
from stylegan_jax.data.errors import BadImage, DataError
from stylegan_jax.data.fitted import FittedSource, Source, fit_source
from stylegan_jax.data.memory_source import MemorySource
from stylegan_jax.data.sources import SOURCES, open_source

__all__ = [
    "SOURCES",
    "BadImage",
    "Batches",
    "DataError",
    "FittedSource",
    "MemorySource",
    "Source",
    "fit_source",
    "open_batches",
    "open_source",
]
