"""What tests of several folders share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np


def same_bits(a: Any, b: Any) -> bool:
    """Return whether two trees have the same leaves, bit for bit; NaN equals nothing."""
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, jax.device_get((a, b))), strict=True))


def json_rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of JSON records."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def stats_rows(workdir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's stats.jsonl without what depends on the clock."""
    return [
        {k: v for k, v in row.items() if k not in ("timing", "memory")} for row in json_rows(workdir / "stats.jsonl")
    ]
