"""What a source returns: named examples in a fixed order, and their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

Label = int | list[float] | None
"""A class number, a vector, or nothing."""


class Example(NamedTuple):
    """One image of a source.

    Attributes:
        name: its name in the source, for the report.
        label: its label; None if it has none.
        load: returns encoded bytes, or pixels uint8[h, w, c]; called in a thread; raises BadImage or OSError.
    """

    name: str
    label: Label
    load: Callable[[], bytes | np.ndarray]


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        load: returns its pixels uint8[h, w, c], or the bytes of an image; called once, in a thread; raises BadImage or
            OSError.
        time: seconds after the first frame; 0 if frames have no times.
        duration: seconds for which the frame is shown; 0 if frames have no times.
    """

    load: Callable[[], bytes | np.ndarray]
    time: float = 0.0
    duration: float = 0.0


class Video(NamedTuple):
    """One video of a source.

    Attributes:
        name: its name in the source, for the report.
        label: its label; None if it has none.
        frames: yields its frames in order, decoding one at a time; raises BadImage or OSError.
    """

    name: str
    label: Label
    frames: Callable[[], Iterator[Frame]]


@dataclasses.dataclass
class Examples:
    """An opened source.

    Attributes:
        kind: 'folder', 'zip', 'file', 'lsun', 'cifar', 'mnist', 'tfrecords' or 'tfds'.
        name: name of the file or folder, without its parents.
        examples: the examples, read once, in order; empty if the source has videos.
        count: number of examples.
        videos: the videos; None for a source of images.
        labelled: whether examples have labels; if so, one without a label is bad.
        label_names: class names, empty if unknown.
        classes: number of classes of all labels; 0 if unknown, or if labels are not class numbers.
        notes: lines about skipped files, and warnings.
        bad: (name, reason) of files found unusable while listing.
        channels: the images' own number of channels, the default.
        close: closes files.
    """

    kind: str
    name: str
    examples: Iterable[Example]
    count: int
    videos: Sequence[Video] | None = None
    labelled: bool = False
    label_names: tuple[str, ...] = ()
    classes: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
    bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    channels: int = 3
    close: Callable[[], None] = lambda: None


def from_arrays(pixels: np.ndarray, values: np.ndarray | None, name: str, kind: str, names: list[str]) -> Examples:
    """Return the examples of decoded images.

    Args:
        pixels: uint8[n, h, w, c].
        values: int[n] class numbers, or None.
        name: name of the source.
        kind: kind of the source.
        names: class names; empty if unknown.
    """

    def examples():
        for i in range(len(pixels)):
            yield Example(f"{name}[{i}]", None if values is None else int(values[i]), lambda i=i: pixels[i])

    return Examples(
        kind,
        name,
        examples(),
        len(pixels),
        labelled=values is not None,
        label_names=tuple(names) if values is not None else (),
        classes=int(values.max()) + 1 if values is not None and len(values) else 0,
        channels=pixels.shape[3],
    )
