"""The digest of images held in one array."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np

from stylegan_jax.config import DataConfig
from stylegan_jax.data import FittedSource, MemorySource, open_source
from stylegan_jax.data.fingerprint import fingerprint, quick_fingerprint


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


def test_a_quick_fingerprint_notices_other_images_and_not_another_place(smooth, encode, write, tmp_path):
    """Of a zip each image counts; of a folder those that are looked at."""
    pixels = smooth(5)
    members = {f"{i}.png": encode(p) for i, p in enumerate(pixels)}
    for kind in ("zip", "folder"):
        found = []
        for place, changed in (("a", {}), ("b", {}), ("c", {"3.png": encode(255 - pixels[3])})):
            (tmp_path / kind / place).mkdir(parents=True)
            path = write(tmp_path / kind / place, kind, members | changed)
            source = open_source(DataConfig(source=kind, path=path, cache="off"), (16, 16, 3))
            found.append(quick_fingerprint(source))
            source.close()
        assert found[0] == found[1] != found[2] and len(found[0]) == 32
