"""Folders and zips of image files, read by the same code as in training."""

from __future__ import annotations

import functools
import os

from stylegan_jax.data.errors import DataError
from stylegan_jax.data.files import Files, no_image_error
from stylegan_jax.data.folder_source import FolderFiles
from stylegan_jax.data.label_files import LabelTable, read_labels
from stylegan_jax.data.prepare.examples import Example, Examples
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
    files = FolderFiles(path) if kind == "folder" else ZipFiles(path)
    try:
        if not files.names:
            raise _nothing_in(files)
        labels = read_labels(files, wanted)
        classes = _classes(files, labels)
    except BaseException:
        files.close()
        raise

    def examples():
        for i, name in enumerate(files.names):
            label = None if labels.table is None else labels.table.get(name)
            yield Example(name, label, functools.partial(files.read, i))

    return Examples(
        kind,
        os.path.basename(os.path.abspath(path)),
        examples(),
        len(files.names),
        labelled=labels.table is not None,
        label_names=labels.names,
        classes=classes,
        bad=files.bad,
        notes=[*files.contents.notes(), *labels.notes],
        close=files.close,
    )


def _classes(files: Files, table: LabelTable) -> int:
    """Return how many classes the labels are of, 0 for other labels; labels of mixed kinds are an error."""
    labels = table.labels([name for name in files.names if table.table is not None and name in table.table])
    return labels.dim if labels.kind == "classes" else 0


def _nothing_in(files: Files) -> DataError:
    """Return the error of a source without a picture; an LSUN database in it is named."""
    if ".mdb" in files.contents.others:
        return DataError(
            f"{files.where}: an LSUN database in a folder or zip; unpack it and pass the folder with data.mdb"
        )
    return no_image_error(files)
