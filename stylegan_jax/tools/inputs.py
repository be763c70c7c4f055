"""What the drawing tools share: their arguments, and latents, labels and transforms made of them. No JAX."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add which model to draw from, and how."""
    p.add_argument("--run", required=True, help="workdir of a run, model folder, or official .pkl")
    p.add_argument("--psi", type=float, default=1.0, help="truncation: 1 none, 0 the average image (default: 1)")
    p.add_argument("--cutoff", type=int, default=None, help="truncate only the first so many style slots")
    p.add_argument("--class", type=int, default=None, dest="label", metavar="K", help="class of a conditional model")
    p.add_argument("--step", type=int, default=None, help="checkpoint of a run (default: the newest)")
    p.add_argument("--batch", type=int, default=8, help="images per call (default: 8)")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of '0-15', '3', '1,5,8-10'.

    Raises:
        ValueError: not of that form, negative, or a range that runs backwards.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"--seeds={text!r}: {part!r} is not a seed or a range; write 7, 0-15 or 1,5,8-10")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers:
            raise ValueError(f"--seeds={text!r}: the range {part!r} runs backwards; write {last}-{first}")
        seeds += numbers
    if max(seeds) >= 2**32:
        raise ValueError(f"--seeds={text!r}: {max(seeds)} is too large; seeds are below 2**32")
    return seeds


def latents(seeds: list[int], z_dim: int) -> np.ndarray:
    """Return float32[len(seeds), z_dim], `numpy.random.RandomState(seed).randn(1, z_dim)` as the official tools do."""
    return np.concatenate([np.random.RandomState(s).randn(1, z_dim) for s in seeds]).astype(np.float32)


def labels(label_dim: int, label: int | None, count: int) -> np.ndarray:
    """Return one-hot labels float32[count, label_dim].

    Raises:
        ValueError: a class for a model without, none for one with, or one that does not exist.
    """
    if label_dim == 0 and label is not None:
        raise ValueError(f"--class={label}: this model has no classes; leave --class out")
    if label_dim and (label is None or not 0 <= label < label_dim):
        raise ValueError(f"--class={label}: this model has the classes 0 to {label_dim - 1}; choose one")
    out = np.zeros((count, label_dim), np.float32)
    if label is not None:
        out[:, label] = 1
    return out


def make_transform(x: float, y: float, degrees: float, aspect: float) -> np.ndarray:
    """Return the float32[3, 3] for `Gan.with_transform` that turns the picture and then moves it.

    Args:
        x: to the right, as a share of the width.
        y: down, as a share of the height.
        degrees: counter-clockwise about the centre.
        aspect: width / height.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    moved = np.array([[cos, sin, x * aspect], [-sin, cos, y], [0, 0, 1]])
    return np.linalg.inv(moved).astype(np.float32)


def transformable(model: Any, what: str) -> Any:
    """Return `with_transform` of a `LoadedModel`.

    Raises:
        ValueError: the architecture has none; `what` says which argument wants it.
    """
    if model.gan.with_transform is None:
        raise ValueError(f"{what}: arch {model.config.arch!r} draws on a fixed grid; use a model such as stylegan3")
    return model.gan.with_transform
