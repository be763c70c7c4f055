"""The results of the project tool: finding and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import arrays

PROJECTION = "projected_w.npz"


class Projected(NamedTuple):
    """A projection: target uint8[h, w, c], mask float32[h, w] or None, ws float32[l, w], noise maps by path."""

    target: np.ndarray
    mask: np.ndarray | None
    ws: np.ndarray
    noise: dict[str, np.ndarray]


def find_projections(folder: str | Path) -> list[Path]:
    """Return the projected_w.npz files of a folder made by `project`: its --out, or the folder of one image.

    For an --out that was used several times, only those of the newest call, as listed in project.json; for other
    folders, all below it.
    """
    folder = Path(folder)
    try:
        names = list(json.loads((folder / "project.json").read_text())["lpips"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return sorted(folder.rglob(PROJECTION))
    names = [name for name in names if Path(name).name == name]  # nothing outside the folder
    return [file for file in (folder / name / PROJECTION for name in names) if file.is_file()]


def read(folder: Path, spec: Any) -> Projected:
    """Return the projection in the folder of one image.

    Args:
        folder: the image's folder made by `project`.
        spec: spec of the model with which it was projected.

    Raises:
        ValueError: a file is missing, damaged, or belongs to another model.
    """
    from stylegan_jax.sampling.model import as_styles  # finding the folders needs no JAX

    shape = spec.image_shape
    try:
        target = _read_png(folder / "target.png", shape)
        mask = None
        if (folder / "mask.png").is_file():
            mask = _read_png(folder / "mask.png", (*shape[:2], 1))[..., 0].astype(np.float32) / 255
        found = arrays.load(folder / PROJECTION)
        if "w" not in found:
            raise ValueError(f"{PROJECTION} holds {arrays.listed(list(found))}, but no 'w'")
        ws = as_styles(found.pop("w"), spec)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} was not projected with this model: {error}") from None
    return Projected(target, mask, ws[0], found)


def _read_png(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8[h, w, c] of a PNG of exactly this shape; its header is checked before anything is decoded.

    Raises:
        ValueError: it is missing, not a PNG, damaged, or of another size or number of channels.
    """
    from stylegan_jax.data import images

    if not path.is_file():
        raise ValueError(f"it has no {path.name}")
    height, width, channels = shape
    with path.open("rb") as file:
        try:
            image = images.open_image(file, ("PNG",))
            if (image.height, image.width) != (height, width):
                raise ValueError(f"{image.width}x{image.height} pixels; the model's images are {width}x{height}")
            if image.mode != images.MODES.get(channels):
                raise ValueError(f"its mode is {image.mode}, not {images.MODES.get(channels)}")
            file.seek(0)
            return images.decode(file.read(images.MAX_BYTES), channels)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
