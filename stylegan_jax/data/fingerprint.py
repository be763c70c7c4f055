"""A digest of the images of a source, cheap where the storage has checksums."""

from __future__ import annotations

import hashlib

import numpy as np

from stylegan_jax.base.trees import array_bytes
from stylegan_jax.data.errors import DataError
from stylegan_jax.data.files import FileSource, run_parallel
from stylegan_jax.data.fitted import FittedSource
from stylegan_jax.data.memory_source import MemorySource
from stylegan_jax.data.tiles_source import TilesSource

_SLICE = 1024
"""Images of an array that are hashed at a time."""


_LOOKED_AT = 256
"""Images that a quick digest is made of, at least, where there are so many."""


def fingerprint(source: FittedSource, workers: int = 2) -> str:
    """Return 32 hexadecimal digits that change when an image, its order or the chosen subset does.

    Of a zip the checksums in its directory are taken, of a folder or the pictures of tiles the files' bytes, else the
    pixels. Neither the size that images are brought to nor their labels count.
    """
    inner, digest = source.inner, hashlib.sha256()
    count = inner.info().num_images
    if isinstance(inner, MemorySource):
        digest.update(f"array {inner.array.shape}".encode())
        for start in range(0, count, _SLICE):  # a mapped file may be larger than the memory
            digest.update(array_bytes(inner.array[start : start + _SLICE]))
    elif isinstance(inner, TilesSource):
        digest.update(b"tiles " + inner.fingerprint())
    else:
        parts = [b""] * count

        def look(i: int) -> None:
            parts[i] = inner.digest(i) if isinstance(inner, FileSource) else _of_pixels(inner.pixels(i))

        run_parallel(look, count, workers, f"fingerprint of {inner.info().name}")
        digest.update(b"files " + b" ".join(parts))
    if source.keep is not None:
        digest.update(b"subset" + np.asarray(source.keep, np.int64).tobytes())
    return digest.hexdigest()[:32]


def quick_fingerprint(source: FittedSource) -> str:
    """Return 32 hexadecimal digits that change when the images are others; cheap enough for every start of a run.

    Of a zip all checksums count, else the content of some hundred images, evenly spread. '' where they cannot be read.
    """
    inner, count = source.inner, source.info().num_images
    is_free = isinstance(inner, FileSource) and inner.has_checksums
    digest = hashlib.sha256(str(count).encode())
    try:
        if isinstance(inner, TilesSource):
            digest.update(inner.fingerprint(_LOOKED_AT))
            return digest.hexdigest()[:32]
        for i in range(0, count, 1 if is_free else max(1, count // _LOOKED_AT)):
            number = int(source.stored(i))
            digest.update(inner.digest(number) if isinstance(inner, FileSource) else _of_pixels(inner.pixels(number)))
    except (DataError, OSError):
        return ""
    return digest.hexdigest()[:32]


def _of_pixels(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(f"{pixels.shape}".encode() + array_bytes(pixels)).digest()
