"""Styles as arrays: groups of slots, mixtures, moves along a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def slot_groups(model: Any) -> dict[str, list[int]]:
    """Return the style slots of a `LoadedModel` by name: 'coarse', 'middle', 'fine' and 'all'.

    Coarse slots are those of images up to 8x8, middle ones up to 32x32, fine ones the rest, as in the StyleGAN paper
    (section 3.1); where a model's layers have no resolutions of their own (StyleGAN3), thirds.
    """
    num_ws, slots = model.gan.spec.num_ws, model.gan.spec.slots
    first, second = num_ws // 3, 2 * num_ws // 3
    if slots:
        first, second = (sum(resolution <= most for resolution in slots) for most in (8, 32))
    ends = {"coarse": (0, first), "middle": (first, second), "fine": (second, num_ws), "all": (0, num_ws)}
    return {name: list(range(*slots)) for name, slots in ends.items()}


def mix(rows: np.ndarray, columns: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """Return float32[r, c, l, w]: styles [r, l, w] with the slots `layers` of styles [c, l, w] (SG1 §3.1, fig. 3)."""
    mixed = np.repeat(rows[:, None], len(columns), axis=1)
    mixed[:, :, layers] = columns[None][:, :, layers]
    return mixed


def move(ws: np.ndarray, step: np.ndarray, layers: Sequence[int], strengths: Sequence[float]) -> np.ndarray:
    """Return float32[n, s, l, w]: styles [n, l, w], their slots `layers` moved by each strength times step [w]."""
    moved = np.repeat(ws[:, None], len(strengths), axis=1)
    moved[:, :, layers] += np.asarray(strengths, np.float32)[None, :, None, None] * step
    return moved
