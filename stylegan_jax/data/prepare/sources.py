"""Identify the kind of a source, by its content rather than its name."""

from __future__ import annotations

import os
import zipfile

from stylegan_jax.base import bundled
from stylegan_jax.data.contents import VIDEO_SUFFIXES, begins_like_video
from stylegan_jax.data.errors import DataError, missing_path_error, wrong_kind
from stylegan_jax.data.prepare import cifar, image_files, lsun, mnist, tfds_examples, tfrecords, video_examples
from stylegan_jax.data.prepare.examples import Examples
from stylegan_jax.data.prepare.options import Options, videos_only
from stylegan_jax.data.prepare.video_files import is_animated

_TFDS = "tfds:"


def open_examples(options: Options) -> Examples:
    """Open the source of `options`.

    Raises:
        DataError: it does not exist, its kind is unknown, it is damaged, or it lacks the requested labels.
    """
    path = bundled.find_data(options.source)
    try:
        kind = _kind(path)
    except OSError as error:
        raise DataError(f"--source={path} cannot be read: {error.strerror or error}") from error
    examples = _open(path, kind, options)
    if examples.videos is None and (given := videos_only(options)):
        examples.close()
        raise DataError(
            f"--{given} is for videos, but --source={path} contains images; leave it out, or use --content=frames if "
            "each folder in it is a video"
        )
    return examples


def _open(path: str, kind: str, options: Options) -> Examples:
    labels = options.labels
    if kind == "video":
        return video_examples.open_video_file(path, options)
    if kind == "files":
        return image_files.open_files(path, options)
    if options.content not in ("auto", "images"):
        raise DataError(f"--content={options.content} needs a folder, a zip or a video; --source={path} is neither")
    if labels == "subfolders":
        raise DataError(f"--labels=subfolders needs a folder or zip of images; {path} is neither")
    if kind == "tfds":
        return tfds_examples.open_tfds_examples(path.removeprefix(_TFDS), options.split, labels)
    if kind == "lsun":
        if labels == "file":
            raise DataError(f"--labels=file with {path}: an LSUN lmdb has no labels; use --labels=none")
        return lsun.open_lsun(path)
    if kind == "tfrecords":
        return tfrecords.open_tfrecords(path, labels)
    if kind == "mnist":
        return mnist.open_mnist(path, labels)
    return cifar.open_cifar(path, options.split, labels != "none")


def _kind(path: str) -> str:
    if path.startswith(_TFDS):
        return "tfds"
    if not os.path.exists(path):
        raise missing_path_error(path, "file or folder", "--source")
    names = os.listdir(path) if os.path.isdir(path) else [path]
    if "data.mdb" in names or path.endswith(".mdb"):
        return "lsun"
    if any(name.endswith(".tfrecords") for name in names):
        return "tfrecords"
    if os.path.isdir(path):
        return "files"
    with open(path, "rb") as file:
        head = file.read(16)
        if head.startswith(b"PK"):
            return "files"
    if path.lower().endswith(VIDEO_SUFFIXES) or begins_like_video(head) or is_animated(path):
        return "video"
    if mnist.is_idx(path):
        return "mnist"
    if cifar.is_tar(path):
        return "cifar"
    if zipfile.is_zipfile(path):  # a self-extracting zip begins with a program
        return "files"
    if what := wrong_kind(path):
        raise DataError(f"--source={path} {what}")
    raise DataError(
        f"--source={path}: unknown kind of file; it must be a folder or zip of images or videos, a video, an LSUN "
        "*_lmdb, a CIFAR tar.gz, MNIST *-images-idx3-ubyte(.gz), *.tfrecords, or tfds:NAME"
    )
