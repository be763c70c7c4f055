"""Where the project tool puts its results, and how they are found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import files

PROJECTION = "projected_w.npz"


class Projected(NamedTuple):
    """A projection: target uint8[h, w, c], mask float32[h, w] or None, ws float32[l, w], noise maps by path."""

    target: np.ndarray
    mask: np.ndarray | None
    ws: np.ndarray
    noise: dict[str, np.ndarray]


def find_projections(folder: str | Path) -> list[Path]:
    """Return the projected_w.npz files of a folder that `project` made: its --out, or that of one image.

    Of an --out that was used again, those of the newest call, as its project.json lists them; of another folder, every
    one below it.
    """
    folder = Path(folder)
    try:
        names = list(json.loads((folder / "project.json").read_text())["lpips"])
    except (OSError, ValueError, KeyError, TypeError):
        return sorted(folder.rglob(PROJECTION))
    return [file for file in (folder / name / PROJECTION for name in names) if file.is_file()]


def read(folder: Path, spec: Any) -> Projected:
    """Return the projection in the folder of one image.

    Args:
        folder: what `project` made of the image.
        spec: of the model that it was projected with.

    Raises:
        ValueError: a file that is missing, damaged, or of another model.
    """
    from PIL import Image

    from stylegan_jax.sampling.model import as_styles  # finding the folders needs no JAX

    try:
        with Image.open(folder / "target.png") as image:
            target = np.asarray(image).reshape(spec.image_shape)
        mask = None
        if (folder / "mask.png").is_file():
            with Image.open(folder / "mask.png") as image:
                mask = np.asarray(image, np.float32).reshape(spec.image_shape[:2]) / 255
        arrays = files.load_npz(folder / PROJECTION)
        ws = as_styles(arrays.pop("w"), spec)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} was not projected with this model: {error}") from None
    return Projected(target, mask, ws[0], arrays)
