"""Folders and zips of image files, read by the code that training uses."""

from __future__ import annotations

import functools
import os

from stylegan_jax.data.errors import DataError
from stylegan_jax.data.files import Files, no_image_error
from stylegan_jax.data.folder_source import FolderFiles
from stylegan_jax.data.label_files import read_labels
from stylegan_jax.data.prepare import video_examples
from stylegan_jax.data.prepare.examples import Example, Examples
from stylegan_jax.data.prepare.options import Options
from stylegan_jax.data.zip_source import ZipFiles


def open_files(path: str, options: Options) -> Examples:
    """Open a folder (with its subfolders) or a zip, of images or of videos.

    Args:
        path: path of the folder or zip.
        options: `content` says whether it has images or videos; `labels` is 'auto' (dataset.json if there is one),
            'file' (it is required), 'subfolders' or 'none'.

    Raises:
        DataError: it is not a zip, has no images, or its labels cannot be read.
    """
    kind = "folder" if os.path.isdir(path) else "zip"
    files = FolderFiles(path) if kind == "folder" else ZipFiles(path)
    try:
        content = video_examples.content_of(files) if options.content == "auto" else options.content
        if content != "images":
            return video_examples.open_videos(path, kind, files, content, options)
        if not files.names:
            raise _nothing_in(files)
        labels = read_labels(files, options.labels)
        classes = labels.classes(files.names)
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


def _nothing_in(files: Files) -> DataError:
    """Return the error for a source without pictures, which may contain an LSUN database."""
    if ".mdb" in files.contents.others:
        return DataError(
            f"{files.where}: an LSUN database in a folder or zip; unpack it and pass the folder with data.mdb"
        )
    return no_image_error(files)
