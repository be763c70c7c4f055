"""Put a run's pictures side by side: `python docs/figures/quickstart.py runs/quickstart docs/images/quickstart.png`.

Left the averaged generator before training, in the middle after it, at the right real images: the grids that the run
wrote. A third argument is the size of the real images on the page in pixels (default: 64).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS, ROWS, GAP = 6, 6, 16
"""Images of each grid that are shown, and the white pixels between grids."""


def cut(path: Path, side: int, size: int) -> np.ndarray:
    """Return the first rows and columns of a grid of images of `side` pixels, enlarged to `size`, uint8[h, w, 3]."""
    with Image.open(path) as picture:
        shown = picture.convert("RGB").crop((0, 0, COLUMNS * side, ROWS * side))
    return np.asarray(shown.resize((COLUMNS * size, ROWS * size), Image.Resampling.LANCZOS))


def main(run: str, target: str, size: str = "64") -> None:
    """Write the picture, and print what is in the middle."""
    grids, model = Path(run) / "grids", json.loads((Path(run) / "config.json").read_text())["model"]
    fakes = sorted(grids.glob("fakes_*.png"))
    parts = [cut(path, model["resolution"], int(size)) for path in (fakes[0], fakes[-1], grids / "reals.png")]
    gap = np.full((len(parts[0]), GAP, 3), 255, np.uint8)
    joined = np.concatenate([parts[0], gap, parts[1], gap, parts[2]], axis=1)
    Image.fromarray(joined).quantize(256).save(target, optimize=True)
    print(f"{target}: before training, after {int(fakes[-1].stem.partition('_')[2]):,} images, real images")


if __name__ == "__main__":
    main(*sys.argv[1:])
