"""Videos as folders of frames, in a zip or folder: a video is a folder, at any depth, that directly contains pictures.

Frames are ordered by the numbers in their names (2 before 10). A video has one label: in dataset.json, those of its
frames must agree, and one frame with a label is enough; with subfolders, a class is a folder that contains videos.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import bundled
from stylegan_jax.base.errors import printable
from stylegan_jax.config import ClipRule, DataConfig
from stylegan_jax.config.clips import least_frames
from stylegan_jax.data import order
from stylegan_jax.data.contents import Contents, by_subfolder
from stylegan_jax.data.errors import SHOWN, DataError
from stylegan_jax.data.files import Files, FileSource
from stylegan_jax.data.fitted import FittedSource
from stylegan_jax.data.folder_source import FolderFiles
from stylegan_jax.data.label_files import Labelled, LabelTable, read_labels
from stylegan_jax.data.zip_source import ZipFiles


class Videos(NamedTuple):
    """The videos of a source, as numbers of its images.

    Attributes:
        names: names of the videos.
        frames: int64[N], numbers of images: the frames of one video after another, in order.
        first: int64[V], index in `frames` at which each video begins.
        lengths: int64[V], number of frames of each video.
    """

    names: tuple[str, ...]
    frames: np.ndarray
    first: np.ndarray
    lengths: np.ndarray

    @property
    def heads(self) -> np.ndarray:
        """Numbers int64[V] of the images that are first frames."""
        return self.frames[self.first]

    def images(self, video: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Return the numbers int64[m, t] of the images that are frames int64[m, t] of videos int64[m]."""
        return self.frames[self.first[video][:, None] + frame]


class VideoSource(FileSource):
    """A `FileSource` whose images are the frames of videos."""

    def videos(self, keep: np.ndarray | None = None) -> Videos:
        """Return the videos whose frames are all available, in the order of their names.

        Args:
            keep: int64[N], ascending, the available images; None: all. Frames are numbered by their position in it.
        """
        number = np.arange(len(self._keep)) if keep is None else keep
        by_video: dict[str, list[tuple[Any, int]]] = {}
        for place, i in enumerate(number):
            name = self.name(int(i))
            by_video.setdefault(folder_of(name), []).append((natural(name.rpartition("/")[2]), place))
        listed = self._count_frames()
        whole = {video: found for video, found in by_video.items() if len(found) == listed[video]}
        names = tuple(sorted(whole, key=natural))
        frames = [place for video in names for _, place in sorted(whole[video])]
        lengths = np.array([len(whole[video]) for video in names], np.int64)
        return Videos(names, np.array(frames, np.int64), np.cumsum(lengths) - lengths, lengths)

    def choose(self, count: int, seed: int) -> np.ndarray:
        """Return the images int64[m], ascending, of `count` videos drawn at random.

        Raises:
            DataError: there are fewer videos.
        """
        videos = self.videos()
        if count > len(videos.names):
            raise DataError(
                f"config.data.subset is {count}; {self.info().name} has {len(videos.names)} videos; use at most that "
                "many, or 0 for all"
            )
        chosen = order.subset(seed, count, len(videos.names))
        parts = [videos.frames[videos.first[i] : videos.first[i] + videos.lengths[i]] for i in chosen]
        return np.sort(np.concatenate(parts))

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return self._files.names[int(self._keep[index])]

    def _count_frames(self) -> dict[str, int]:
        """Return the number of frames of each video, including unusable ones."""
        counts: dict[str, int] = {}
        for name in [*self._files.names, *(name for name, _ in self._files.bad)]:
            counts[folder_of(name)] = counts.get(folder_of(name), 0) + 1
        return counts


def videos_of(source: FittedSource, rule: ClipRule, on_bad_image: str) -> Videos:
    """Return the videos of a source that are long enough for a clip.

    Raises:
        DataError: the source has images instead of videos, or videos are too short and may not be skipped.
    """
    if not isinstance(source.inner, VideoSource):
        raise DataError(
            f"{source.info().name}: images, and the model is trained on clips; use config.data.source='video'"
        )
    videos, least = source.inner.videos(source.keep), least_frames(rule)
    short = [i for i, length in enumerate(videos.lengths) if length < least]
    if short and (on_bad_image == "error" or len(short) == len(videos.names)):
        shown = ", ".join(f"{_shown(videos.names[i])} ({videos.lengths[i]})" for i in short[:SHOWN])
        raise DataError(
            f"{source.info().name}: {len(short)} of {len(videos.names)} videos have too few frames: "
            f"{shown}{' …' * (len(short) > SHOWN)}; a clip of {rule.frames} frames needs a video of at least {least}: "
            "lower config.model.stylegan_v.frames, remove them, or use --config.data.on_bad_image=skip"
        )
    if not videos.names:
        raise DataError(f"{source.info().name}: no video with all of its frames")
    stay = np.array([i for i in range(len(videos.names)) if i not in set(short)], np.int64)
    return videos._replace(
        names=tuple(videos.names[i] for i in stay), first=videos.first[stay], lengths=videos.lengths[stay]
    )


def check_examples(source: FittedSource, data: DataConfig, rule: ClipRule | None) -> None:
    """Check that a source has videos that are long enough, if a model is trained on clips (it has a rule).

    Raises:
        DataError: as `videos_of`.
    """
    if rule is not None:
        videos_of(source, rule, data.on_bad_image)


def read_video_labels(files: Labelled, wanted: str) -> LabelTable:
    """Find the labels of videos, like `label_files.read_labels`, with one label for all frames of a video.

    Raises:
        DataError: as there, or frames of one video have different labels.
    """
    names = files.contents.names
    if wanted == "subfolders":
        numbers, classes, _ = by_subfolder(Contents(names=sorted({folder_of(name) for name in names} - {""})))
        if not numbers:
            raise DataError(
                f"{files.where}: config.data.labels='subfolders', but the videos lie in no folders; put those of a "
                "class into one, or use --config.data.labels=none"
            )
        table = {name: numbers[folder_of(name)] for name in names if folder_of(name) in numbers}
        return LabelTable(table, tuple(classes), files.where)
    found = read_labels(files, wanted)
    if found.table is None:
        return found
    labels: dict[str, tuple[str, Any]] = {}
    for name, label in found.table.items():
        first, known = labels.setdefault(folder_of(name), (name, label))
        if known != label:
            raise DataError(
                f"{found.where}: {printable(first)} has the label {str(known)[:40]} and {printable(name)}, of the same "
                f"video, {str(label)[:40]}; a video has one label"
            )
    table = {name: labels[folder_of(name)][1] for name in names if folder_of(name) in labels}
    return found._replace(table=table)


def open_video(data: DataConfig, image_shape: tuple[int, int, int]) -> VideoSource:
    """Open `data.path`, a zip or a folder, as videos whose frames have `image_shape[2]` channels.

    Raises:
        DataError: it is neither, frames are missing or bad, or labels are missing or differ within a video.
    """
    files: Files = FolderFiles(data.path) if os.path.isdir(data.path) else ZipFiles(bundled.find_data(data.path))
    try:
        source = VideoSource(
            os.path.splitext(os.path.basename(os.path.abspath(data.path)))[0],
            files,
            data.labels,
            channels=image_shape[2],
            on_bad_image=data.on_bad_image,
            workers=data.workers,
            find_labels=read_video_labels,
        )
        lengths = source.videos().lengths
        if len(lengths):
            ends = f"{lengths.min()}" + (f" to {lengths.max()}" if lengths.min() < lengths.max() else "")
            source.add_note(f"{len(lengths)} videos of {ends} frames")
        return source
    except BaseException:
        files.close()
        raise


def folder_of(name: str) -> str:
    """Return the name of the video to which a frame belongs; '' at the top."""
    return name.rpartition("/")[0]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts '2' before '10'."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _shown(name: str) -> str:
    return printable(name) if name else "the folder itself"
