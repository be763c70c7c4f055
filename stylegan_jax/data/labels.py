"""Labels: class numbers or float vectors, and the dataset.json that contains them.

The file is `{"labels": [["00000/img00000000.png", 3], …], "label_names": ["cat", …]}`; a label is a class number,
starting at 0, or a list of numbers. Class numbers stay integers in memory and in batches; they become one-hot vectors
on the device.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.base.trees import array_bytes
from stylegan_jax.data.contents import clean_name
from stylegan_jax.data.errors import SHOWN, DataError, printable

MAX_CLASS = 1_000_000
MAX_JSON_BYTES = 1 << 26
"""Largest size of a dataset.json: ImageNet's has 42 MB. Parsing takes 20 times the memory."""
_CLASSES_SHOWN = 20
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a data set.

    Attributes:
        values: int32[N] class numbers, or float32[N, k] vectors (k = 0: no labels).
        dim: length k of a label vector; for class numbers, the number of classes, at least that of the names.
        names: class names, empty if unknown.
    """

    values: np.ndarray
    dim: int
    names: tuple[str, ...] = ()

    @functools.cached_property
    def kind(self) -> str:
        """'none', 'classes' (numbers), 'multi-hot' (vectors of 0 and 1) or 'vectors' (floats)."""
        if not self.dim:
            return "none"
        if self.values.ndim == 1:
            return "classes"
        return "multi-hot" if np.isin(self.values, (0, 1)).all() else "vectors"

    @functools.cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any label."""
        head = f"{self.values.dtype.str} {self.values.shape} {self.dim}".encode()
        return hashlib.sha256(head + array_bytes(self.values)).hexdigest()[:16]

    def info(self) -> dict[str, Any]:
        """Return the fields of `spec.SourceInfo` that describe labels."""
        return {
            "label_dim": self.dim,
            "label_names": self.names,
            "label_kind": self.kind,
            "label_digest": self.digest,
            "label_counts": self.counts,
            "notes": self.notes,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about labels that are probably wrong."""
        if self.values.ndim != 2 or self.dim != 1 or not len(self.values) or (self.values % 1).any():
            return ()
        ends = f"{self.values.min():.0f} to {self.values.max():.0f}"
        return (
            f"warning: the labels are lists of one whole number ({ends}), which are vectors of length 1; for classes "
            "write plain numbers, 5 and not [5]",
        )

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of images of each class, or of each entry of multi-hot labels; () for other kinds."""
        return count(self.values, self.kind, self.dim)

    def vectors(self, index: np.ndarray) -> np.ndarray:
        """Return float32[*index.shape, k], class numbers as one-hot vectors."""
        picked = self.values[index]
        if self.values.ndim == 2:
            return picked
        out = np.zeros((*picked.shape, self.dim), np.float32)
        np.put_along_axis(out, picked[..., None].astype(np.int64), 1.0, axis=-1)
        return out

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Return labels as batches contain them: class numbers int32[*index.shape], or float32[*index.shape, k]."""
        return self.values[index]

    def take(self, index: np.ndarray) -> Labels:
        """Return the labels of a subset, with the same vector length."""
        return dataclasses.replace(self, values=self.values[index])


def count(rows: np.ndarray, kind: str, dim: int) -> tuple[int, ...]:
    """Return `Labels.counts` for some rows of a data set's labels."""
    if kind == "classes":
        return tuple(np.bincount(rows, minlength=dim).tolist())
    return tuple(rows.sum(0).astype(int).tolist()) if kind == "multi-hot" else ()


def no_labels(count: int) -> Labels:
    """Return zero-width labels for `count` images."""
    return Labels(np.zeros((count, 0), np.float32), 0)


def from_array(values: np.ndarray, count: int, where: str, names: Sequence[str] = ()) -> Labels:
    """Return labels from integers [N] (classes) or floats [N, k].

    Raises:
        DataError: the shape, type or range is wrong, or the number of labels or names.
    """
    values = np.asarray(values)
    integer = np.issubdtype(values.dtype, np.integer)
    if values.ndim == 1 and integer:
        if len(values) and (values.min() < 0 or values.max() >= MAX_CLASS):
            raise DataError(
                f"{where}: class {values.min()} to {values.max()}; classes count from 0 up, below {MAX_CLASS}"
            )
        dim = int(values.max()) + 1 if len(values) else 0
        labels = Labels(values.astype(np.int32), max(dim, len(names)), tuple(names))
    elif values.ndim == 2 and values.shape[1] and (integer or np.issubdtype(values.dtype, np.floating)):
        with np.errstate(over="ignore"):
            labels = Labels(values.astype(np.float32), values.shape[1], tuple(names[: values.shape[1]]))
        if not np.isfinite(labels.values).all():
            raise DataError(f"{where}: a label vector holds NaN, infinity or a number beyond float32")
    else:
        raise DataError(f"{where}: labels are {values.dtype}{list(values.shape)}; use integers [N] or floats [N, k]")
    if len(values) != count:
        raise DataError(f"{where}: {len(values)} labels for {count} images; there must be one for each")
    if labels.names and len(labels.names) < labels.dim:
        raise DataError(f"{where}: {len(names)} label names for {labels.dim} classes; name all or none")
    return labels


def describe(kind: str, counts: Sequence[int], names: Sequence[str], total: int, unit: str = "image") -> list[str]:
    """Return lines about the classes of a data set, with warnings about what looks wrong.

    Args:
        kind: `Labels.kind`.
        counts: `Labels.counts`.
        names: class names, or ().
        total: number of examples.
        unit: the word for an example.
    """
    if not counts:
        return []
    name = lambda i: printable(str(names[i])) if names else str(i)
    shown = [f"{name(i)}: {n}" for i, n in enumerate(counts) if n or names or kind == "multi-hot"]
    what = "class" if kind == "classes" else "entry of the labels"
    more = f", … and {len(shown) - _CLASSES_SHOWN} more" if len(shown) > _CLASSES_SHOWN else ""
    lines = [f"{unit}s per {what}: {', '.join(shown[:_CLASSES_SHOWN])}{more}"]
    empty = [i for i, n in enumerate(counts) if not n]
    if kind == "classes" and not names and len(empty) > len(counts) / 2:
        lines.append(
            f"warning: {len(counts) - len(empty)} different labels up to {len(counts) - 1} for {total} {unit}s look "
            "like ids rather than class numbers, which count from 0 without gaps"
        )
    elif kind == "classes" and not names and empty == [0]:
        lines.append(f"warning: no {unit} has class 0: do the classes count from 1? Class numbers count from 0")
    elif empty:
        which = ", ".join(name(i) for i in empty[:_CLASSES_SHOWN])
        more = f", … and {len(empty) - _CLASSES_SHOWN} more" if len(empty) > _CLASSES_SHOWN else ""
        lines.append(f"warning: no {unit} of {which}{more}")
    if kind == "classes" and len(counts) == 1:
        lines.append(f"warning: all {unit}s are of one class ({name(0)}), which teaches nothing; use labels 'none'")
    elif kind == "classes" and total > 2 and max(counts) == 1:
        lines.append(f"warning: every {unit} has its own class; are the labels ids?")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        which = ", ".join(map(printable, twice[:_CLASSES_SHOWN]))
        lines.append(f"warning: several classes have the same name, but different numbers: {which}")
    if names and {n.lower() for n in names} <= _SPLITS:
        lines.append("warning: the classes have names of splits; use the folder of one split, with a folder per class")
    return lines


def parse_json(data: bytes, names: Sequence[str], where: str) -> Labels:
    """Read dataset.json for the images `names`.

    Raises:
        DataError: the text is not JSON, has no labels, lacks images (they are named), or mixes kinds of labels.
    """
    table, label_names = label_table(data, where)
    return labels_of(table, names, where, label_names)


def labels_of(table: Mapping[str, Any], names: Sequence[str], where: str, label_names: Sequence[str] = ()) -> Labels:
    """Return the labels of the images `names`.

    Args:
        table: label by name, as stored in the file.
        names: names of the images.
        where: the file, for errors.
        label_names: class names.

    Raises:
        DataError: images have no label (they are named), or labels are of mixed kinds.
    """
    missing = [n for n in names if n not in table]
    if missing:
        raise missing_labels_error(where, missing, len(names), next(iter(table), ""))
    chosen = [table[n] for n in names]
    if all(type(v) is int for v in chosen):
        if any(not 0 <= v < MAX_CLASS for v in chosen):
            raise DataError(
                f"{where}: class {min(chosen)} to {max(chosen)}; classes count from 0 up, below {MAX_CLASS}"
            )
        return from_array(np.array(chosen, np.int64), len(names), where, label_names)
    length = next((len(v) for v in chosen if isinstance(v, list)), 0)
    for name, value in zip(names, chosen, strict=True):
        if not (_is_vector(value, length) if length else type(value) is int):
            kind = f"a list of {length} numbers" if length else "a class number or a list of numbers"
            raise DataError(
                f"{where}: the label of {printable(name)} is {str(value)[:80]}; it must be {kind}, like all"
            )
    return from_array(np.array(chosen, np.float64), len(names), where, label_names)


def missing_labels_error(where: str, missing: Sequence[str], total: int, known: str = "") -> DataError:
    """Return the error about images without a label.

    Args:
        where: the file.
        missing: names of these images.
        total: number of images.
        known: a name that has a label, for comparison.
    """
    shown = ", ".join(printable(n) for n in missing[:SHOWN])
    hint = f" (its names are such as {printable(known)})" if known and len(missing) == total else ""
    return DataError(
        f"{where}: no label for {len(missing)} of {total} images: {shown}{' …' * (len(missing) > SHOWN)}{hint}; add "
        "them, or train without labels: --config.data.labels=none"
    )


def label_table(data: bytes, where: str) -> tuple[dict[str, Any], list[str]]:
    """Return ({name: stored label}, class names) of a dataset.json; the labels are not checked.

    Raises:
        DataError: the file is too large, not JSON, or does not have the form that the module describes.
    """
    if len(data) > MAX_JSON_BYTES:
        raise DataError(f"{where}: {len(data)} bytes; the limit is {MAX_JSON_BYTES}; use an .npz of images and labels")
    advice = 'write {"labels": [["name.png", 0], …]} or use --config.data.labels=none'
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({_json_fault(error)}); {advice}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("labels"), list):
        raise DataError(f'{where}: no list "labels" in it; {advice}')
    table: dict[str, Any] = {}
    for entry in tree["labels"]:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise DataError(f"{where}: the entry {str(entry)[:80]} is not [name, class or list of numbers]")
        name = clean_name(entry[0]) or entry[0]
        if table.setdefault(name, entry[1]) != entry[1]:
            raise DataError(
                f"{where}: {printable(name)} has two labels, {str(table[name])[:40]} and {str(entry[1])[:40]}"
            )
    names = tree.get("label_names") or []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise DataError(f'{where}: "label_names" must be a list of strings')
    return table, names


def _json_fault(error: Exception) -> str:
    """Return what is wrong with a text on which `json.loads` raised an error."""
    if isinstance(error, json.JSONDecodeError):
        return str(error)[:120]
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text at byte {error.start}"
    return "lists in too many lists" if isinstance(error, RecursionError) else "a number of thousands of digits"


def _is_vector(value: Any, length: int) -> bool:
    """Return whether value is a list of `length` numbers within float32; NaN and bool do not count."""
    if not isinstance(value, list) or len(value) != length or not length:
        return False
    return all(type(v) in (int, float) and abs(v) < 3e38 for v in value)
