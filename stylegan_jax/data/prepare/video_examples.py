"""The videos in a folder, zip or file: video files, animations, or folders of frames."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator

from stylegan_jax.data.contents import Contents
from stylegan_jax.data.errors import BadImage, DataError, printable
from stylegan_jax.data.files import Files, no_image_error
from stylegan_jax.data.folder_source import FolderFiles
from stylegan_jax.data.label_files import LabelTable, read_labels
from stylegan_jax.data.prepare.examples import Examples, Frame, Label, Video
from stylegan_jax.data.prepare.options import Options
from stylegan_jax.data.prepare.video_files import check_pyav, decode_animation, decode_video, is_animated, is_animation
from stylegan_jax.data.video_source import folder_of, natural, read_video_labels

_LOOKED_AT = 64


class _Listed:
    """The videos of `files` as `label_files.Labelled`, because labels refer to their names.

    Args:
        files: the folder or zip.
        names: names of its videos.
    """

    def __init__(self, files: Files, names: list[str]):
        self.where, self.read_json = files.where, files.read_json
        self.contents = dataclasses.replace(files.contents, names=names, bad=[])


def content_of(files: Files) -> str:
    """Return whether a folder or zip contains 'videos' or 'images'.

    It contains videos if there are video files (in a zip, video files and no pictures), or if more than half of a
    sample of its pictures are animations.
    """
    if files.contents.videos and (isinstance(files, FolderFiles) or not files.names):
        return "videos"
    some = range(0, len(files.names), max(1, len(files.names) // _LOOKED_AT))
    return "videos" if 2 * sum(_look(files, i) == "animation" for i in some) > len(some) else "images"


def _look(files: Files, index: int) -> str:
    """Return 'animation' or 'picture', or the reason why a file is neither."""
    try:
        with files.open(index) as file:
            return "animation" if is_animation(file) else "picture"
    except BadImage as error:
        return error.reason
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def open_videos(path: str, kind: str, files: Files, content: str, options: Options) -> Examples:
    """Return the videos of an opened folder or zip.

    Args:
        path: path of the folder or zip.
        kind: 'folder' or 'zip'.
        files: its files; `Examples.close` closes them.
        content: 'videos' or 'frames'.
        options: the options on labels and frames.

    Raises:
        DataError: there is no video, it is a zip of video files, PyAV is missing, or labels cannot be read.
    """
    decoders, bad, notes = (_of_frames if content == "frames" else _of_files)(files, options)
    if not decoders and not bad:
        raise no_image_error(files)
    names = list(decoders)
    if content == "frames" and options.labels in ("auto", "file"):
        table = read_video_labels(files, options.labels)
        table = table._replace(table=_by_video(table.table))
    else:
        table = read_labels(_Listed(files, names), options.labels)
    return Examples(
        kind,
        os.path.basename(os.path.abspath(path)),
        (),
        len(names),
        videos=[Video(name, _label(table, name), decoders[name]) for name in names],
        labelled=table.table is not None,
        label_names=table.names,
        classes=table.classes(names),
        notes=[*_notes(files.contents, content), *notes, *table.notes],
        bad=bad,
        close=files.close,
    )


def open_video_file(path: str, options: Options) -> Examples:
    """Return the single video of a file.

    Raises:
        DataError: PyAV is missing, or an option does not apply to a single file.
    """
    if options.content not in ("auto", "videos"):
        raise DataError(f"--content={options.content} does not fit --source={path}, which is a video; leave it out")
    if options.labels not in ("auto", "none"):
        raise DataError(f"--labels={options.labels}: --source={path} is one video, which has no labels; leave it out")
    if is_animated(path):
        frames: Callable[[], Iterator[Frame]] = functools.partial(
            decode_animation, functools.partial(open, path, "rb"), options.max_megapixels << 20
        )
    else:
        check_pyav(f"--source={path}")
        frames = functools.partial(decode_video, path, options.max_megapixels << 20, options.workers)
    name = os.path.basename(os.path.abspath(path))
    return Examples("file", name, (), 1, videos=[Video(name, None, frames)])


Decoders = dict[str, Callable[[], Iterator[Frame]]]


def _of_files(files: Files, options: Options) -> tuple[Decoders, list[tuple[str, str]], list[str]]:
    """Return (decoders of the video files and animations in the order of their names, bad files, notes)."""
    limit = options.max_megapixels << 20
    found: Decoders = {}
    if files.contents.videos:
        if not isinstance(files, FolderFiles):
            raise DataError(f"--source={files.where}: a zip of video files; unpack it and pass the folder")
        check_pyav(f"--source={files.where}")
        for name, number in files.contents.videos:
            found[name] = functools.partial(decode_video, files.path(number), limit, options.workers)
    bad, stills = [], 0
    for i, name in enumerate(files.names):
        what = _look(files, i)
        if what == "animation":
            found[name] = functools.partial(decode_animation, functools.partial(files.open, i), limit)
        elif what == "picture":
            stills += 1
        else:
            bad.append((name, what))
    notes = [f"skipped: {stills} pictures that are not animations"] if stills else []
    return {name: found[name] for name in sorted(found, key=natural)}, [*files.bad, *bad], notes


def _of_frames(files: Files, options: Options) -> tuple[Decoders, list[tuple[str, str]], list[str]]:
    """Return (readers of the folders of frames in the order of their names, bad files, notes)."""
    if options.fps is not None:
        raise DataError(f"--fps={options.fps:g}: frames in folders have no times; leave it out")
    members: dict[str, list[int]] = {}
    for i, name in enumerate(files.names):
        members.setdefault(folder_of(name), []).append(i)
    broken = {folder_of(name): f"its frame {printable(name)}: {reason}" for name, reason in reversed(files.bad)}
    found: Decoders = {}
    for video in sorted(members, key=natural):
        order = sorted(members[video], key=lambda i: natural(files.names[i].rpartition("/")[2]))
        if video not in broken:
            found[video] = functools.partial(_frames_of, files, order)
    return found, sorted(broken.items()), []


def _frames_of(files: Files, order: list[int]) -> Iterator[Frame]:
    for i in order:
        yield Frame(functools.partial(files.read, i))


def _by_video(table: dict | None) -> dict | None:
    return None if table is None else {folder_of(name): label for name, label in table.items()}


def _label(table: LabelTable, name: str) -> Label:
    return None if table.table is None else table.table.get(name)


def _notes(contents: Contents, content: str) -> list[str]:
    """Return lines about skipped files."""
    if content == "frames":
        return contents.notes()
    others = contents.others.copy()
    for name, _ in contents.videos:
        others[os.path.splitext(name.lower())[1] or "without a suffix"] -= 1
    return dataclasses.replace(contents, others=+others).notes()
