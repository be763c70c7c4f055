"""Labels in all forms that users pass, checked against those that a model was trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stylegan_jax.base.errors import printable
from stylegan_jax.base.spec import Array

Label = int | str | Sequence[int | str] | Array | None
"""A class or a label float[k] for all images, one class per image, or labels float[n, k]; None for models without.

A class is a number or, for a model that knows their names (`LoadedModel.label_names`), a name; see `find_class`.
"""
MAX_JSON = 1 << 19
"""Bytes of JSON that the names of a model may take: half of what its model.json may have."""
SHOWN = 40
"""Names that an error lists."""


def as_labels(
    label: Label,
    count: int,
    label_dim: int,
    kind: str = "",
    label_names: Sequence[str] = (),
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
        label_names: names of its classes; () if unknown.
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
            known = listed(label_names) or f"0 to {label_dim - 1}"
            raise ValueError(f"this model is class-conditional; pass {names[0]} ({known})")
        return np.zeros((count, 0), np.float32)
    value, given = np.asarray(label), given or f"{names[0]}={label}"
    if value.dtype.kind in "iuU" and value.ndim < 2:
        if label_dim and kind == "multi-hot":  # [1, 0, 1] may be meant as one label
            raise ValueError(f"{given}: the labels of this model are {kind}, not classes; pass {label_dim} floats")
        value = one_hot(value, label_dim, kind, label_names, given=given, numbers=names[1])
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
    classes: Array | Sequence[int | str],
    label_dim: int,
    kind: str = "",
    label_names: Sequence[str] = (),
    *,
    given: str = "",
    numbers: str = "label",
) -> np.ndarray:
    """Return float32[..., label_dim] of classes [...], numbers or names; for arguments and errors see `as_labels`."""
    given = given or f"label={classes}"
    if not label_dim:
        raise ValueError(f"{given}: this model has no labels; leave it out")
    if kind == "vectors":
        raise ValueError(f"{given}: the labels of this model are vectors, not classes; {_numbers(numbers, label_dim)}")
    index = np.asarray(classes)
    if index.dtype.kind == "U":
        numbered = [find_class(str(name), label_dim, label_names, given) for name in index.ravel()]
        index = np.array(numbered).reshape(index.shape)
    if index.size and not 0 <= index.min() <= index.max() < label_dim:
        raise ValueError(f"{given}: this model has the classes 0 to {label_dim - 1}; choose one")
    return np.eye(label_dim, dtype=np.float32)[index]


def find_class(text: str, label_dim: int, label_names: Sequence[str], given: str) -> int:
    """Return the number of a class.

    Args:
        text: its number in digits, its name, or the beginning of its name alone, in upper or lower case. Digits are a
            number, even if a class has them as its name.
        label_dim: number of classes; a number is not compared with it.
        label_names: names of the classes; () if unknown.
        given: the label as the user wrote it, for errors.

    Raises:
        ValueError: no class or more than one has this name, or the names are unknown; the message lists the names.
    """
    if text.isascii() and text.isdecimal():
        return int(text)
    if not label_names:
        raise ValueError(
            f"{given}: {text!r} is not a number, and the classes of this model have numbers only, no names; pass 0 to "
            f"{label_dim - 1}"
        )
    low = text.casefold()
    same = (lambda x: x == text, lambda x: x.casefold() == low, lambda x: x.casefold().startswith(low))
    for is_same in same:
        found = [i for i, name in enumerate(label_names) if is_same(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{given}: {text!r} fits several classes; pass more of the name, or its number: "
                f"{listed(label_names, found)}"
            )
    raise ValueError(f"{given}: no class of this model is named {text!r}; it has {listed(label_names)}")


def read_names(names: Any, label_dim: int) -> tuple[str, ...]:
    """Return names from a run's records or from a file of a stranger; () unless they are one text for each class."""
    is_list = isinstance(names, list | tuple) and len(names) == label_dim and all(isinstance(x, str) for x in names)
    return tuple(names) if is_list and len(json.dumps(names, indent=2)) <= MAX_JSON else ()


def listed(label_names: Sequence[str], chosen: Sequence[int] | None = None, most: int = SHOWN) -> str:
    """Return '0 cat, 1 dog' for some classes, or all of them, at most `most`."""
    chosen = range(len(label_names)) if chosen is None else chosen
    more = f" and {len(chosen) - most} more" if len(chosen) > most else ""
    return ", ".join(f"{i} {printable(label_names[i])}" for i in chosen[:most]) + more


def _numbers(name: str, label_dim: int) -> str:
    zeros = ",".join(["0"] * min(label_dim, 4)) + (",…" if label_dim > 4 else "")
    return f"pass all {label_dim} numbers, as {name}={zeros if name.startswith('--') else f'[{zeros}]'}"
