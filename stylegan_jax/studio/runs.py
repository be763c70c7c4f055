"""What the page Run shows of a training run: its curves and grids, while it trains too."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylegan_jax.checkpoints.restore import committed_steps
from stylegan_jax.studio import commands

MAX_POINTS = 400
"""Of a curve: more rows are thinned out, the newest is kept."""
MAX_BYTES = 64 << 20
"""Of stats.jsonl that are read, from its end."""
GRID_ENDINGS = (".png", ".webp")


def describe(workdir: Path, shown: int | None) -> dict[str, Any]:
    """Return curves, grids and checkpoints of a run, JSON-ready.

    Args:
        workdir: of the run.
        shown: the step of the checkpoint that the studio draws.
    """
    rows = read_rows(workdir / "stats.jsonl")
    kept = rows[:: max(1, -(-len(rows) // MAX_POINTS))]
    if rows and kept[-1] is not rows[-1]:
        kept.append(rows[-1])
    curves: dict[str, list[list[float]]] = {}
    for row in kept:
        at = row.get("nimg", 0) / 1000
        timing = row.get("timing") or {}
        values = {**(row.get("mean") or {}), **(row.get("metrics") or {})}
        values["timing/images per second"] = timing.get("img_per_sec")
        for name, value in values.items():
            if isinstance(value, int | float):
                curves.setdefault(name, []).append([at, value])
    last = rows[-1] if rows else {}
    steps = committed_steps(workdir / "checkpoints")
    return {
        "kimg": last.get("nimg", 0) / 1000,
        "step": last.get("step", 0),
        "seconds_left": (last.get("timing") or {}).get("eta_sec"),
        "curves": curves,
        "grids": [path.name for path in list_grids(workdir)],
        "newest": max(steps, default=None),
        "shown": shown,
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of stats.jsonl; one that is being written is left out."""
    rows = []
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - MAX_BYTES))
        for line in file:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append(row)
    return rows


def list_grids(workdir: Path) -> list[Path]:
    """Return the grids of a run, in their order."""
    with contextlib.suppress(OSError):
        return sorted(p for p in (workdir / "grids").iterdir() if p.suffix in GRID_ENDINGS and p.is_file())
    return []


def as_zip(workdir: Path, grid: Path, model: Sequence[str]) -> bytes:
    """Return a zip of a grid with what the run has written about itself: curves, configuration, a command.

    Grids are drawn in training, from weights that may be gone, so the command draws from the checkpoint that is there.

    Args:
        workdir: of the run.
        grid: one of `list_grids`.
        model: the words of a command line that name the model.
    """
    data = io.BytesIO()
    line = commands.line("sample", model, "--seeds=0-31", "--columns=8", "--out=samples")
    with zipfile.ZipFile(data, "w") as archive:
        archive.write(grid, grid.name)
        for name in ("stats.jsonl", "config.json"):
            with contextlib.suppress(OSError):
                archive.write(workdir / name, name)
        archive.writestr("command.txt", f"# other pictures of the same run\n{line}\n")
    return data.getvalue()
