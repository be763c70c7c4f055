"""The labels of a folder or zip of images: from dataset.json, wherever it is, or from subfolders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from stylegan_jax.data.contents import JSON_NAME, Contents, by_subfolder, clean_name
from stylegan_jax.data.errors import SHOWN, DataError, printable
from stylegan_jax.data.labels import Labels, label_table, labels_of, missing_labels_error, no_labels

_LIKE_LABELS = (".csv", ".tsv", ".json", ".jsonl")
_MOST_FILES = 20
"""Largest number of dataset.json files that are searched for labels."""


class Labelled(Protocol):
    """The part of a folder or zip that reading labels needs."""

    where: str
    contents: Contents

    def read_json(self, number: int) -> bytes:
        """Return the bytes of the file at a position in the list; raises DataError."""
        ...


class LabelTable(NamedTuple):
    """Labels by name, as stored.

    Attributes:
        table: label of each image that has one; None: the set has no labels.
        names: class names, () if unknown.
        where: the file or folder with the labels.
        notes: lines for a report.
    """

    table: dict[str, Any] | None = None
    names: tuple[str, ...] = ()
    where: str = ""
    notes: tuple[str, ...] = ()

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the images that have no label although others do."""
        return [] if self.table is None else [name for name in names if name not in self.table]

    def missing_error(self, missing: Sequence[str], total: int) -> DataError:
        """Return an error that names images without a label."""
        if self.where.endswith(JSON_NAME):
            return missing_labels_error(self.where, missing, total, next(iter(self.table or {}), ""))
        shown = ", ".join(printable(name) for name in missing[:SHOWN]) + " …" * (len(missing) > SHOWN)
        return DataError(
            f"{self.where}: config.data.labels='subfolders', but {len(missing)} images lie outside any subfolder: "
            f"{shown}; move them into the subfolder of their class"
        )

    def classes(self, names: Sequence[str]) -> int:
        """Return the number of classes of images, 0 if labels are not classes; raises DataError like `labels`."""
        labels = self.labels([name for name in names if self.table is not None and name in self.table])
        return labels.dim if labels.kind == "classes" else 0

    def labels(self, names: Sequence[str]) -> Labels:
        """Return the labels of images that all have one; raises DataError for labels of mixed kinds."""
        return no_labels(len(names)) if self.table is None else labels_of(self.table, names, self.where, self.names)


def read_labels(files: Labelled, wanted: str) -> LabelTable:
    """Find the labels of a folder or zip.

    Args:
        files: the folder or zip.
        wanted: 'none', 'file' (a dataset.json with labels is required), 'auto' (used if there is one) or 'subfolders'.

    Raises:
        DataError: there are no labels, several dataset.json have some, or they cannot be read.
    """
    if wanted == "none":
        return LabelTable()
    if wanted == "subfolders":
        return _of_subfolders(files)
    return _of_file(files, wanted)


def _of_subfolders(files: Labelled) -> LabelTable:
    numbers, classes, folder = by_subfolder(files.contents)
    if not numbers:
        raise DataError(
            f"{files.where}: config.data.labels='subfolders', but no image lies in a subfolder; use "
            "--config.data.labels=none"
        )
    lines = [f"the classes are the folders in {printable(folder)}, which contains the whole set"] if folder else []
    beside = {name[len(folder) :].split("/")[0] for name in files.contents.folders if name.startswith(folder)}
    if empty := sorted(beside - {"", *classes}):
        shown = ", ".join(map(printable, empty[:SHOWN])) + " …" * (len(empty) > SHOWN)
        lines.append(f"folders without an image are not classes: {shown}")
    return LabelTable(dict(numbers), tuple(classes), files.where, tuple(lines))


def _of_file(files: Labelled, wanted: str) -> LabelTable:
    """Read the root's dataset.json, or the only other one that has labels, with names relative to its folder."""
    jsons = files.contents.jsons
    if not jsons:
        others = [suffix for suffix in _LIKE_LABELS if files.contents.others[suffix]]
        note = f"labels are read from files called {JSON_NAME} only, not from {' or '.join(others)}" if others else ""
        if wanted == "auto":
            return LabelTable(notes=(note,) if note else ())
        raise DataError(
            f"config.data.labels='file' needs {files.where}/{JSON_NAME}, which is not there; add it, or use "
            f"--config.data.labels=subfolders or --config.data.labels=none{note and f' ({note})'}"
        )
    nested = [place for place in jsons if place[0]]
    if jsons[0] not in nested:
        content = files.read_json(jsons[0][1])
        if not _is_null(content) or not nested:
            if wanted == "auto" and _is_null(content):
                return LabelTable()
            left = tuple(f"{printable(folder)}{JSON_NAME} is ignored" for folder, _ in nested[:_MOST_FILES])
            return _read(files, "", content, left)
    having = [(folder, content) for folder, content in _contents(files, nested) if _may_have_labels(content)]
    if len(having) == 1:
        folder, content = having[0]
        said = f"labels are read from {printable(folder)}{JSON_NAME}, with names relative to its folder"
        return _read(files, folder, content, (said,))
    which = ", ".join(printable(folder) + JSON_NAME for folder, _ in having or nested[:SHOWN])
    if having:
        raise DataError(
            f"{files.where}: several dataset.json have labels: {which}; keep one, with the names of all images"
        )
    if wanted == "auto":
        return LabelTable(notes=(f"no labels in {which}",))
    raise DataError(f"{files.where}: config.data.labels='file', but there are no labels in {which}")


def _contents(files: Labelled, places: Sequence[tuple[str, int]]) -> list[tuple[str, bytes]]:
    if len(places) > _MOST_FILES:
        raise DataError(f"{files.where}: {len(places)} files called {JSON_NAME}; keep the one that has the labels")
    return [(folder, files.read_json(number)) for folder, number in places]


def _read(files: Labelled, folder: str, content: bytes, notes: tuple[str, ...]) -> LabelTable:
    """Return a set's labels from the content of a dataset.json in `folder`."""
    where = f"{files.where}/{folder}{JSON_NAME}"
    stored, names = label_table(content, where)
    images = set(files.contents.names)
    table = {clean_name(folder + name) or name: label for name, label in stored.items()}
    if folder and not images & table.keys():
        table = stored  # the names may be relative to the root
    unused = [name for name in table if name not in images]
    if len(unused) == len(table) and images:
        raise missing_labels_error(where, files.contents.names, len(images), next(iter(table), ""))
    if unused:
        notes += (f"{len(unused)} labels belong to no image of the set, such as {printable(unused[0])}",)
    return LabelTable({n: table[n] for n in files.contents.names if n in table}, tuple(names), where, notes)


def _may_have_labels(content: bytes) -> bool:
    """Return whether a file has labels, or is not valid JSON, which is an error later."""
    tree = _parsed(content)
    return tree is None or (isinstance(tree, dict) and isinstance(tree.get("labels"), list))


def _is_null(content: bytes) -> bool:
    """Return whether the file says that there are no labels, as official tools do."""
    tree = _parsed(content)
    return isinstance(tree, dict) and tree.get("labels", 0) is None


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
