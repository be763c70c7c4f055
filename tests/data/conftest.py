"""Fixtures of the data tests: a config maker, an image maker, writers of folders and zips."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import DataConfig

SIZE = 16

DEFAULTS = {"source": "memory", "cache_limit_mb": 64, "synthetic_images": 20}


@pytest.fixture(scope="session")
def config() -> Callable[..., DataConfig]:
    """Return a maker of DataConfig with changes to the defaults."""
    return lambda **changes: DataConfig(**{**DEFAULTS, **changes})


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Return a function from pixels (or a PIL image) to encoded bytes."""

    def encode(pixels, image_format: str = "PNG", **options) -> bytes:
        image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
        out = io.BytesIO()
        image.save(out, image_format, **options)
        return out.getvalue()

    return encode


@pytest.fixture(scope="session")
def smooth() -> Callable[..., np.ndarray]:
    """Return a maker of smooth random images, uint8[n, h, w, c]."""

    def smooth(count: int, size: int = SIZE, channels: int = 3, seed: int = 0) -> np.ndarray:
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, channels), dtype=np.uint8)
        return coarse.repeat(size // 4, 1).repeat(size // 4, 2)

    return smooth


@pytest.fixture(scope="session")
def write() -> Callable[..., str]:
    """Return a writer of {name: bytes} as a folder or a zip; returns its path."""

    def write(root: Path, kind: str, members: dict[str, bytes], labels=None, method=zipfile.ZIP_STORED) -> str:
        members = dict(members)
        if labels is not None:
            members["dataset.json"] = json.dumps(labels).encode()
        if kind == "zip":
            path = root / "set.zip"
            with zipfile.ZipFile(path, "w", method) as archive:
                for name, data in members.items():
                    archive.writestr(name, data)
            return str(path)
        path = root / "set"
        for name, data in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return str(path)

    return write
