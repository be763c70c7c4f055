"""Labels in all forms that users pass, checked against those that a model was trained with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stylegan_jax.base.spec import Array

Label = int | Sequence[int] | Array | None
"""A class or a label float[k] for all images, one class per image, or labels float[n, k]; None for models without."""


def as_labels(
    label: Label,
    count: int,
    label_dim: int,
    kind: str = "",
    *,
    given: str = "",
    names: tuple[str, str] = ("label", "label"),
) -> np.ndarray:
    """Return the labels of `count` images; one-hot vectors for classes.

    Args:
        label: see `Label`.
        count: number of images.
        label_dim: length of the model's labels.
        kind: kind of the labels it was trained with (`SourceInfo.label_kind`); '' if unknown.
        given: the label as the user wrote it, for errors; '': label=….
        names: how the user spells a class, and a label of numbers, for errors.

    Returns:
        float32[count, label_dim].

    Raises:
        ValueError: a label is passed to a model without labels, missing for a model with labels, or does not fit.
    """
    if label is None:
        if label_dim and kind in ("multi-hot", "vectors"):
            raise ValueError(f"this model is conditional on labels ({kind}); {_numbers(names[1], label_dim)}")
        if label_dim:
            raise ValueError(f"this model is class-conditional; pass {names[0]} (0 to {label_dim - 1})")
        return np.zeros((count, 0), np.float32)
    value, given = np.asarray(label), given or f"{names[0]}={label}"
    if np.issubdtype(value.dtype, np.integer) and value.ndim < 2:
        if label_dim and kind == "multi-hot":  # [1, 0, 1] may be meant as one label
            raise ValueError(f"{given}: the labels of this model are {kind}, not classes; pass {label_dim} floats")
        value = one_hot(value, label_dim, kind, given=given, numbers=names[1])
    if not label_dim:
        raise ValueError(f"{given}: this model has no labels; leave it out")
    if value.ndim == 2 and len(value) != count:
        raise ValueError(f"{given}: {len(value)} labels for {count} images; pass one for all, or one each")
    if value.shape not in ((label_dim,), (count, label_dim)) or not np.isfinite(value).all():
        raise ValueError(
            f"{given}: the labels of this model have {label_dim} finite entries; {_numbers(names[1], label_dim)}"
        )
    return np.broadcast_to(value, (count, label_dim)).astype(np.float32)


def one_hot(
    classes: Array | Sequence[int], label_dim: int, kind: str = "", *, given: str = "", numbers: str = "label"
) -> np.ndarray:
    """Return float32[..., label_dim] of classes int[...]; for the other arguments and errors see `as_labels`."""
    given = given or f"label={classes}"
    if not label_dim:
        raise ValueError(f"{given}: this model has no labels; leave it out")
    if kind == "vectors":
        raise ValueError(f"{given}: the labels of this model are vectors, not classes; {_numbers(numbers, label_dim)}")
    index = np.asarray(classes)
    if index.size and not 0 <= index.min() <= index.max() < label_dim:
        raise ValueError(f"{given}: this model has the classes 0 to {label_dim - 1}; choose one")
    return np.eye(label_dim, dtype=np.float32)[index]


def _numbers(name: str, label_dim: int) -> str:
    zeros = ",".join(["0"] * min(label_dim, 4)) + (",…" if label_dim > 4 else "")
    return f"pass all {label_dim} numbers, as {name}={zeros if name.startswith('--') else f'[{zeros}]'}"
