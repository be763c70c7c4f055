"""Folders and zips of image files, read by the same code as in training."""

from __future__ import annotations

import functools
import json
import os
import zipfile

from stylegan_jax.data import images, labels
from stylegan_jax.data.errors import SHOWN, DataError, printable
from stylegan_jax.data.folder_source import FolderFiles
from stylegan_jax.data.prepare.convert import SUFFIXES
from stylegan_jax.data.prepare.examples import Example, Examples, Label
from stylegan_jax.data.zip_source import ZipFiles


def open_files(path: str, wanted: str) -> Examples:
    """Open a folder (with its subfolders) or a zip.

    Args:
        path: of the folder or zip.
        wanted: labels: 'auto' (dataset.json where there is one), 'file' (it must be there), 'subfolders' or 'none'.

    Raises:
        DataError: not a zip, no image, or labels that cannot be read.
    """
    kind = "folder" if os.path.isdir(path) else "zip"
    files = FolderFiles(path, SUFFIXES) if kind == "folder" else ZipFiles(path, SUFFIXES)
    try:
        if not files.names:
            raise _nothing_in(path, kind, files.bad)
        table, names = _labels(files, wanted)
    except BaseException:
        files.close()
        raise

    def examples():
        for i, name in enumerate(files.names):
            yield Example(name, None if table is None else table.get(name), functools.partial(files.read, i))

    return Examples(
        kind,
        os.path.basename(os.path.abspath(path)),
        examples(),
        len(files.names),
        labelled=table is not None,
        label_names=tuple(names),
        bad=files.bad,
        close=files.close,
    )


def _nothing_in(path: str, kind: str, bad: list[tuple[str, str]]) -> DataError:
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("data.mdb") for name in archive.namelist()):
                return DataError(f"{path}: an LSUN database in a zip; unpack it and pass the folder with data.mdb")
    shown = "".join(f"\n  {printable(name)}: {why}" for name, why in bad[:SHOWN])
    return DataError(f"{path}: no image in this {kind} that can be read; looked for {', '.join(SUFFIXES)}{shown}")


def _labels(files: FolderFiles | ZipFiles, wanted: str) -> tuple[dict[str, Label] | None, list[str]]:
    """Return ({name: label}, class names); None without labels."""
    if wanted == "none":
        return None, []
    if wanted == "subfolders":
        numbers, classes = labels.by_subfolder(files.names)
        if not classes:
            raise DataError(f"{files.where}: --labels=subfolders, but no image lies in a subfolder; use --labels=none")
        return dict(numbers), classes
    where = f"{files.where}/{labels.JSON_NAME}"
    content = _json(files)
    if content is None or (wanted == "auto" and _is_null(content)):
        if wanted == "file":
            raise DataError(f"--labels=file needs {where}, which is not there; use --labels=subfolders or none")
        return None, []
    table, names = labels.label_table(content, where)
    present = [n for n in files.names if n in table]
    if not present:
        raise DataError(f"{where}: no label for any of the images; use --labels=none to leave it aside")
    labels.parse_json(content, present, where)  # refuses labels of mixed kinds
    return {n: table[n] for n in present}, names


def _json(files: FolderFiles | ZipFiles) -> bytes | None:
    """Return the bytes of dataset.json, None when there is none."""
    if isinstance(files, ZipFiles):
        return files.labels_json() if files.has_labels else None
    path = os.path.join(files.where, labels.JSON_NAME)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(images.MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _is_null(content: bytes) -> bool:
    """Say whether the file states that there are no labels, as the official tools write it."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and tree.get("labels", 0) is None
