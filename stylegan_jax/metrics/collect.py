"""What a pass keeps of the features that it computes: sums for moments, or the features themselves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from stylegan_jax.metrics import moments
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.moments import Moments

log = logging.getLogger(__name__)

BLOCK = 512
"""Rows per update of moments: each update is a pass over the whole matrix."""


class Collector(Protocol):
    """Collects rows in order; its content can be written as arrays and read back, bit for bit.

    Attributes:
        count: number of rows it collects; further ones are ignored.
        kind: short name of its content, part of the keys of stored entries.
    """

    count: int
    kind: str

    def add(self, start: int, rows: np.ndarray) -> None:
        """Take rows float[m, …], the first of which has number `start`."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the content."""
        ...

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore the content that `arrays` returned.

        Raises:
            ValueError, KeyError: it belongs to another collector.
        """
        ...


class Sums:
    """Moments of consecutive groups of rows, bit for bit the same for any chunks.

    Args:
        count: number of rows.
        groups: number of groups of about the same size.
    """

    def __init__(self, count: int, groups: int = 1):
        self.count, self.kind, self.groups = count, f"sums{groups}", groups
        self._parts: list[Moments] = []
        self._waiting: list[np.ndarray] = []  # rows of one group, fewer than BLOCK
        self._group = 0

    def add(self, start: int, rows: np.ndarray) -> None:
        for i, row in enumerate(rows[: max(self.count - start, 0)]):
            group = (start + i) * self.groups // self.count
            if group != self._group or len(self._waiting) == BLOCK:
                self._fold(row.shape[0])
            self._group = group
            self._waiting.append(row)

    def _fold(self, dim: int) -> None:
        self._parts = self._parts or [moments.empty(dim) for _ in range(self.groups)]
        if self._waiting:
            self._parts[self._group] = moments.update(self._parts[self._group], np.stack(self._waiting))
        self._waiting = []

    def arrays(self) -> dict[str, np.ndarray]:
        out = {"group": np.asarray(self._group)}
        if self._waiting:
            out["waiting"] = np.stack(self._waiting)
        if self._parts:
            counts, totals, outers = zip(*self._parts, strict=True)
            out |= {"counts": np.array(counts), "totals": np.array(totals), "outers": np.array(outers)}
        return out

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._group, self._waiting = int(arrays["group"]), list(arrays.get("waiting", ()))
        stored = zip(*(arrays.get(key, ()) for key in ("counts", "totals", "outers")), strict=True)
        self._parts = [Moments(int(n), total, outer) for n, total, outer in stored]

    def parts(self) -> list[Moments]:
        """Return the moments of each group, once all rows have come."""
        if self._waiting:
            self._fold(len(self._waiting[0]))
        return self._parts

    def whole(self) -> Moments:
        """Return the moments of all rows."""
        return moments.merge_all(self.parts())


class Rows:
    """The rows themselves.

    Args:
        count: number of rows.
        dtype: in which they are kept.
    """

    def __init__(self, count: int, dtype: str = "float32"):
        self.count, self.kind, self.dtype = count, f"rows-{dtype}", np.dtype(dtype)
        self.rows = np.zeros((0,), self.dtype)
        self.done = 0

    def check(self, rows: np.ndarray) -> None:
        """Raise MetricError if rows overflow the dtype in which they are kept."""
        if np.finfo(self.dtype).max < (largest := np.abs(rows).max(initial=0)):
            raise MetricError(
                f"features up to {largest:.4g} overflow {self.dtype}, in which this metric keeps them as published; "
                "use the network that defines it"
            )

    def add(self, start: int, rows: np.ndarray) -> None:
        rows = rows[: max(self.count - start, 0)]
        if self.rows.ndim == 1:
            self.rows = np.zeros((self.count, *rows.shape[1:]), self.dtype)
        with np.errstate(over="ignore"):
            self.rows[start : start + len(rows)] = rows
        self.done = start + len(rows) if len(rows) else self.done

    def arrays(self) -> dict[str, np.ndarray]:
        return {"rows": self.rows[: self.done]}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        kept = arrays["rows"]
        if len(kept) > self.count:
            raise ValueError(f"{len(kept)} rows, {self.count} wanted")
        if len(kept) == self.count and kept.dtype == self.dtype:
            self.rows = kept  # not copied: there may be gigabytes
        else:
            self.rows = np.zeros((self.count, *kept.shape[1:]), self.dtype)
            self.rows[: len(kept)] = kept
        self.done = len(kept)


def restore(stored: Sequence[tuple[Collector, Mapping[str, np.ndarray]]], title: str) -> bool:
    """Fill empty collectors with their stored content.

    Returns:
        Whether all of it fits. If not, a warning is logged, and all of them are empty.
    """
    empty = [collector.arrays() for collector, _ in stored]
    try:
        for collector, arrays in stored:
            collector.load(arrays)
    except (KeyError, ValueError, TypeError) as error:
        log.warning("%s: the stored statistics do not fit (%s) and are computed again", title, error)
        for (collector, _), arrays in zip(stored, empty, strict=True):
            collector.load(arrays)
        return False
    return True
