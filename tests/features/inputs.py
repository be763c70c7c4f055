"""Images and weights that both this package and its peers are run on; nothing here needs JAX or PyTorch."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "peers" / "results.npz"
SEED = 7
SIZES = {  # height and width of the random images of a network
    "inception": (61, 83),
    "vgg16": (45, 70),
    "vgg16_lpips": (40, 51),
    "alexnet_lpips": (64, 71),
    "efficientnet_lite0": (61, 83),
    "face": (96, 70),
    "ir_se50": (112, 112),
    "curricularface": (112, 112),
    "dinov2": (120, 150),
    "dinov2_small": (300, 260),
}
CLIPS = (0, 150, 50, 100, 199, 25)
"""Videos of the bundled animations whose first 16 frames are clips for I3D."""
I3D_RESULTS = RESULTS.with_name("i3d.npz")
VIT = {"width": 128, "depth": 2, "grid": 37}
"""A vision transformer small enough for a test: two heads, two blocks."""


def images(name: str, count: int = 2) -> np.ndarray:
    """Return random images, uint8[n, h, w, 3], coarse enough that resizing matters."""
    height, width = SIZES[name]
    coarse = np.random.default_rng([SEED, len(name)]).integers(0, 256, (count, -(-height // 3), -(-width // 3), 3))
    return coarse.repeat(3, 1).repeat(3, 2)[:, :height, :width].astype(np.uint8)


def tamed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return random weights of a face network with smaller residuals: else 24 of them amplify rounding to 0.1."""
    is_last = lambda name: name.endswith("res_layer.4.weight")
    return {name: x * np.float32(0.1) if is_last(name) else x for name, x in tensors.items()}


def emoji_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Return 20 pairs of the bundled images, uint8[20, 64, 64, 3] each."""
    with zipfile.ZipFile(ROOT / "datasets" / "emoji64.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        step = len(names) // 40
        pixels = [_pixels(archive.read(names[k * step])) for k in range(40)]
    return np.stack(pixels[::2]), np.stack(pixels[1::2])


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def made_up_clip() -> np.ndarray:
    """Return uint8[16, 64, 64, 3] by a formula."""
    t, y, x, c = np.meshgrid(*map(np.arange, (16, 64, 64, 3)), indexing="ij")
    return ((3 * t**2 + 5 * x + 7 * y + 11 * t * x + 60 * c) % 256).astype(np.uint8)


def animations() -> dict[int, np.ndarray]:
    """Return the first 16 frames of the videos `CLIPS`, uint8[16, 64, 64, 3] each."""
    with zipfile.ZipFile(ROOT / "datasets" / "fluent64.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".webp")]
        videos: dict[str, list[str]] = {}
        for name in sorted(names):
            videos.setdefault(name.rpartition("/")[0], []).append(name)
        first = {i: videos[sorted(videos)[i]][:16] for i in CLIPS}
        return {i: np.stack([_pixels(archive.read(name)) for name in found]) for i, found in first.items()}
