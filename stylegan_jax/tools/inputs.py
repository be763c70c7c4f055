"""What the drawing tools share: their arguments, and latents, labels and transforms made of them. No JAX."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add which model to draw from, and how."""
    p.add_argument("--run", required=True, help="workdir of a run, model folder, or official .pkl")
    p.add_argument("--psi", type=float, default=1.0, help="truncation: 1 none, 0 the average image (default: 1)")
    p.add_argument("--cutoff", type=int, default=None, help="truncate only the first so many style slots")
    p.add_argument("--class", type=int, default=None, dest="class_index", metavar="K", help="class, from 0")
    p.add_argument("--label", default=None, metavar="X,Y,…", help="label as numbers, for multi-hot and vector labels")
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


def latents(seeds: Iterable[int], z_dim: int) -> np.ndarray:
    """Return float32[n, z_dim] of seeds, `numpy.random.RandomState(seed).randn(1, z_dim)`, as official tools do."""
    return np.concatenate([np.random.RandomState(s).randn(1, z_dim) for s in seeds]).astype(np.float32)


def labels(model: Any, args: argparse.Namespace, count: int) -> np.ndarray:
    """Return the label that the arguments ask for, float32[count, k]; see `make_label` for the errors."""
    label = make_label(model.gan.spec.label_dim, model.label_kind, args.class_index, args.label)
    return np.tile(label, (count, 1))


def make_label(label_dim: int, kind: str, class_index: int | None, numbers: str | None) -> np.ndarray:
    """Return the label float32[label_dim] that the arguments ask for; of a class, its one-hot vector.

    Args:
        label_dim: length of the model's labels.
        kind: what labels it was trained with (`SourceInfo.label_kind`); '' when unknown.
        class_index: --class.
        numbers: --label, separated by commas.

    Raises:
        ValueError: a label for a model without, none for one with, both ways at once, or one that does not fit.
    """
    given = f"--class={class_index}" if numbers is None else f"--label={numbers}"
    as_numbers = (
        f"give all {label_dim} numbers, as --label={','.join(['0'] * min(label_dim, 4))}{',…' * (label_dim > 4)}"
    )
    if class_index is None and numbers is None:
        if label_dim:
            choose = as_numbers if kind in ("multi-hot", "vectors") else f"choose one with --class=0 … {label_dim - 1}"
            raise ValueError(f"this model draws by label; {choose}")
        return np.zeros(0, np.float32)
    if label_dim == 0:
        raise ValueError(f"{given}: this model has no labels; leave it out")
    if numbers is None:
        if kind == "vectors":
            raise ValueError(f"{given}: the labels of this model are vectors, not classes; {as_numbers}")
        assert class_index is not None
        if not 0 <= class_index < label_dim:
            raise ValueError(f"{given}: this model has the classes 0 to {label_dim - 1}; choose one")
        return (np.arange(label_dim) == class_index).astype(np.float32)
    if class_index is not None:
        raise ValueError(f"--class={class_index} {given}: give one of them")
    try:
        label = np.array([float(x) for x in numbers.split(",")], np.float32)
    except ValueError:
        label = np.zeros(0, np.float32)
    if label.shape != (label_dim,) or not np.isfinite(label).all():
        raise ValueError(f"{given}: the labels of this model have {label_dim} entries; {as_numbers}")
    return label


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


def in_chunks(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (rows of x, how many of them count): always `size` rows, the last chunk filled up with its last row."""
    for start in range(0, len(x), size):
        part = x[start : start + size]
        yield np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]), len(part)
