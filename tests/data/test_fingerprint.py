"""The digest of images held in one array."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np

from stylegan_jax.data import FittedSource, MemorySource
from stylegan_jax.data.fingerprint import fingerprint


def test_an_array_is_read_in_slices(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    source = FittedSource(MemorySource(mapped), (32, 32), "box", None, "off")
    tracemalloc.start()
    found = fingerprint(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = hashlib.sha256(f"array {pixels.shape}".encode() + pixels.tobytes()).hexdigest()[:32]
    assert found == whole and peak < pixels.nbytes / 2
