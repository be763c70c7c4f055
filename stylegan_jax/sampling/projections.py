"""Where the project tool puts its results, and how they are found again."""

from __future__ import annotations

import json
from pathlib import Path

PROJECTION = "projected_w.npz"


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
