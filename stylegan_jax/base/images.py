"""Images as pixels, PNG files and grids."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stylegan_jax.base.files import replacing

if TYPE_CHECKING:
    from PIL import Image


def to_pixels(image: Any) -> Any:
    """Map float images in about [-1, 1] to uint8 as the official tools do: x * 127.5 + 128, clamped, truncated.

    Args:
        image: float[..., h, w, c], of NumPy or JAX, traced or not.

    Returns:
        uint8[..., h, w, c] of the same kind of array.
    """
    return to_levels(image).astype(np.uint8)


def to_levels(image: Any) -> Any:
    """Return what `to_pixels` truncates: float32 in [0, 255]. NaN stays NaN, which uint8 cannot represent."""
    return (image.astype(np.float32) * 127.5 + 128).clip(0, 255)


def from_pixels(pixels: Any) -> Any:
    """Map uint8 pixels to float32 images in [-1, 1], of NumPy or JAX, traced or not."""
    return pixels.astype(np.float32) / 127.5 - 1


def make_grid(pixels: np.ndarray, columns: int) -> np.ndarray:
    """Join uint8[n, h, w, c] row by row into uint8[rows*h, columns*w, c]; missing cells are black."""
    n, h, w, c = pixels.shape
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, h, w, c), np.uint8)
    grid[:n] = pixels
    return grid.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)


def to_picture(pixels: np.ndarray, columns: int = 1, height: int = 128) -> Image.Image:
    """Return a Pillow image of a grid of uint8[n, h, w, c], as notebooks show it; pixels of small images are repeated.

    Args:
        pixels: images with 1, 3 or 4 channels.
        columns: of the grid.
        height: the largest height to which images are enlarged.
    """
    from PIL import Image

    picture, factor = _as_pillow(make_grid(pixels, columns)), max(1, height // pixels.shape[1])
    size = picture.width * factor, picture.height * factor
    return picture.resize(size, Image.Resampling.NEAREST)


def save_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write uint8[h, w, c] (c = 1, 3 or 4) as PNG; a reader never sees a partial file."""
    with replacing(Path(path)) as part:
        _as_pillow(pixels).save(part, format="PNG")


def png_bytes(pixels: np.ndarray, level: int = 6) -> bytes:
    """Return uint8[h, w, c] as the content of a PNG file, compressed by zlib at a level from 0 (fast) to 9 (small)."""
    data = io.BytesIO()
    _as_pillow(pixels).save(data, format="PNG", compress_level=level)
    return data.getvalue()


def save_webp(path: str | os.PathLike[str], frames: Sequence[np.ndarray], fps: float) -> None:
    """Write frames uint8[h, w, c] as an animated WebP that repeats; a reader never sees a partial file."""
    first, *rest = [_as_pillow(frame) for frame in frames]
    with replacing(Path(path)) as part:
        first.save(part, "WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, quality=90)


def _as_pillow(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    pixels = np.asarray(pixels)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
