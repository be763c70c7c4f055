"""The page Run: curves and grids of a training run, also while it trains."""

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
"""Largest number of rows of a curve; more are thinned out, but the newest is kept."""
MAX_BYTES = 64 << 20
"""Largest number of bytes that are read from the end of stats.jsonl."""
GRID_ENDINGS = (".png", ".webp")


def describe(workdir: Path, shown: int | None) -> dict[str, Any]:
    """Return the curves, grids and checkpoints of a run, JSON-ready.

    Args:
        workdir: folder of the run.
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
    """Return the rows of stats.jsonl, without one that is just being written."""
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
    """Return the grids of a run in order."""
    with contextlib.suppress(OSError):
        return sorted(p for p in (workdir / "grids").iterdir() if p.suffix in GRID_ENDINGS and p.is_file())
    return []


def as_zip(workdir: Path, grid: Path, model: Sequence[str]) -> bytes:
    """Return a zip of a grid with the run's curves and configuration, and a command.

    Training drew the grid from weights that may be gone, so the command draws from the checkpoint that exists.

    Args:
        workdir: folder of the run.
        grid: one of `list_grids`.
        model: the arguments that name the model on a command line.
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
