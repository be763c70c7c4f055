"""Digests of the images of a source, cheap if the storage has checksums."""

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
"""Number of images of an array that are hashed at once."""


_LOOKED_AT = 256
"""Least number of images that a quick digest covers, if there are that many."""


def fingerprint(source: FittedSource, workers: int = 2) -> str:
    """Return 32 hexadecimal digits that change with any image, their order or the chosen subset.

    For a zip, they cover the checksums in its directory; for a folder or the pictures of tiles, the files' bytes;
    otherwise the pixels. The size to which images are resized and their labels do not matter.
    """
    inner, digest = source.inner, hashlib.sha256()
    count = inner.info().num_images
    if isinstance(inner, MemorySource):
        digest.update(f"array {inner.array.shape}".encode())
        for start in range(0, count, _SLICE):  # a mapped file may be larger than memory
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
    """Return 32 hexadecimal digits that change with the images, cheap enough for every start of a run.

    For a zip they cover all checksums, otherwise a few hundred evenly spaced images. '' if images cannot be read.
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
