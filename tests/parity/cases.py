"""Golden cases: a JSON description and an NPZ of arrays, in the format of tests/golden/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DEFAULT_DIR = Path(__file__).parent.parent / "golden"


class Case(NamedTuple):
    """One golden case: its description and its arrays."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        return self.meta["name"]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the arrays under a prefix, which is cut off the names."""
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}

    def expected(self) -> dict[str, np.ndarray]:
        return {k: v for k, v in self.arrays.items() if k.startswith(("out/", "grad/"))}

    def bounds(self, key: str, precision: str) -> tuple[float, float]:
        """Return (rtol, atol) of an array at 'float32' or 'float64'; what has no bounds (booleans) is exact."""
        if self.arrays[key].dtype == bool:
            return 0.0, 0.0
        bound = self.meta["tolerance"]["per_array"][key][precision]
        return bound["rtol"], bound["atol"]

    def leap(self, key: str, precision: str) -> float:
        """Return by how much single elements of an array may be off: Adam's first steps follow the sign of a gradient.

        0: none may. Where the case allows it, a thousandth of all such elements may be off by two steps of a rate.
        """
        bound = self.meta["tolerance"]["per_array"].get(key, {}).get(precision, {})
        if "allow 0.1% of elements to differ by up to 2*lr" not in bound.get("note", ""):
            return 0.0
        net = key.partition("/it")[2].partition("_")[2][0].lower()  # out/it0_Dmain/param/…
        return 2 * self.meta["config"][f"{net}_lr"]


def list_names(folder: Path) -> list[str]:
    """Return the names of the cases in a folder."""
    return sorted(p.stem for p in folder.glob("*.npz"))


def load(folder: Path, name: str) -> Case:
    """Read one case; no pickles."""
    meta = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        return Case(meta, {k: file[k] for k in file.files})


def family(folder: Path, name: str) -> str:
    """Return 'family/object' of a case: what decides its adapter."""
    meta = json.loads((folder / f"{name}.json").read_text())
    return f"{meta['family']}/{meta['object']}"
