"""Files that a page uploads: a picture to project, or directions. Their names are never used."""

from __future__ import annotations

import numpy as np

from stylegan_jax.data import images
from stylegan_jax.data.errors import BadImage
from stylegan_jax.data.prepare.convert import Recipe, make
from stylegan_jax.sampling import directions
from stylegan_jax.studio.sessions import Session
from stylegan_jax.studio.wishes import BadWish

MAX_BYTES = 32 << 20
"""Largest size of an uploaded file in bytes."""
MAX_PIXELS = 40_000_000
MIN_SIDE = 8
KEPT_SIDE = 2048
"""Longer sides are reduced to this many pixels; models draw at most half of it."""


def read_picture(data: bytes, channels: int) -> tuple[np.ndarray, list[str]]:
    """Return the picture uint8[h, w, c] of an image file, upright, and a list of what was changed.

    Args:
        data: the file.
        channels: channels of the model: 1, 3 or 4; unless 4, transparent pixels are blended with white.

    Raises:
        BadWish: the file is not a usable image.
    """
    try:
        made = make(data, Recipe(channels=channels, max_pixels=MAX_PIXELS))
        pixels = images.decode(made.png, channels)
    except BadImage as error:
        raise BadWish(f"the file cannot be used: {error.reason}") from None
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise BadWish(f"the picture has {width}x{height} pixels; each side needs at least {MIN_SIDE}")
    changes = list(made.changes)
    if max(height, width) > KEPT_SIDE:
        pixels = _resized(pixels, KEPT_SIDE / max(height, width))
        changes.append(f"shrunk to {pixels.shape[1]}x{pixels.shape[0]}")
    return pixels, changes


def _resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    from PIL import Image

    height, width, k = pixels.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = Image.fromarray(pixels[..., 0] if k == 1 else pixels).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(size[1], size[0], k)


def preview(pixels: np.ndarray, side: int = 640) -> np.ndarray:
    """Return the picture, reduced so that its longer side has at most `side` pixels."""
    longest = max(pixels.shape[:2])
    return pixels if longest <= side else _resized(pixels, side / longest)


def crop(pixels: np.ndarray, shape: tuple[int, int, int], x: float, y: float, size: float) -> np.ndarray:
    """Crop a rectangle of a picture and resize it with Lanczos to uint8[h, w, c] of the model's shape.

    Args:
        pixels: uint8[h, w, c].
        shape: (h, w, c) of the model.
        x: horizontal position of the rectangle, from 0 (left) to 1 (right).
        y: vertical position, from 0 (top) to 1 (bottom).
        size: size of the rectangle, relative to the largest that fits.
    """
    height, width = pixels.shape[:2]
    h, w, k = shape
    scale = min(width / w, height / h) * size
    across, down = max(1, min(width, round(w * scale))), max(1, min(height, round(h * scale)))
    left, top = round((width - across) * x), round((height - down) * y)
    part = pixels[top : top + down, left : left + across]
    made = make(np.ascontiguousarray(part), Recipe(channels=k, resolution=(w, h), transform="stretch"))
    return images.decode(made.png, k)


def read_directions(session: Session, data: bytes, w_dim: int) -> directions.Directions:
    """Return the directions in a .npz or .npy file, as `edit --directions` takes it.

    Raises:
        BadWish: it has no directions for this model.
    """
    if not data.startswith((b"PK", b"\x93NUMPY")):
        raise BadWish("the file is not an .npz or .npy file; pass directions.npz, as the command edit writes it")
    path = session.folder / ("directions.npz" if data.startswith(b"PK") else "directions.npy")
    path.write_bytes(data)
    try:
        return directions.load(str(path), w_dim)
    except ValueError as error:
        raise BadWish("the file cannot be used: " + str(error).partition(": ")[2]) from None
