"""The options of the data set tool, and their rules."""

from __future__ import annotations

import dataclasses

from stylegan_jax.data import images
from stylegan_jax.data.errors import DataError
from stylegan_jax.data.prepare.convert import ALPHAS, TRANSFORMS, Recipe

CONTENTS = ("auto", "images", "videos", "frames")
LABELS = ("auto", "file", "subfolders", "none")
DUPLICATES = ("keep", "drop")
MAX_SIDE = 8192
MAX_FPS = 1000
OF_VIDEOS = ("fps", "skip_frames", "max_frames", "chunk_frames", "min_frames")
"""Options that apply to videos only."""
MAX_MEGAPIXELS = 2000
"""In RGB this is 6 GB for each of --workers."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of the tool.

    Attributes:
        source: a path, or tfds:NAME.
        dest: a zip if it ends in .zip, else a folder.
        resolution: (width, height) in pixels; None keeps the size.
        transform: one of `convert.TRANSFORMS`; all but 'none' need a resolution.
        resize_filter: 'lanczos' or 'box'.
        labels: one of LABELS.
        channels: 1, 3 or 4; 0: 3 for image files, otherwise the source's own.
        alpha: one of `convert.ALPHAS`.
        depth: significant bits of images with 16 bits per channel; 12: 4095 is white.
        max_megapixels: larger images are skipped; a megapixel is 2^20 pixels.
        split: 'train', 'test' or another split of tensorflow_datasets; for CIFAR and tfds sources.
        max_images: write only the first images (or videos), at most this many; 0: all.
        duplicates: 'keep' or 'drop' images with the same pixels as an earlier one.
        strict: raise an error on bad images instead of skipping them.
        overwrite: replace what is at dest.
        workers: number of threads.
        content: one of CONTENTS: 'videos' reads video files and animations; for 'frames', each folder of pictures is a
            video; 'auto': videos if there are video files, or more animations than other pictures.
        fps: frames per second to write; None: every frame as stored.
        skip_frames: skip this many frames at the start of each video.
        max_frames: then use at most this many frames of each video; 0: all.
        chunk_frames: cut each video into videos of this many frames, dropping a shorter rest; 0: whole videos.
        min_frames: shorter videos are skipped.
    """

    source: str
    dest: str
    resolution: tuple[int, int] | None = None
    transform: str = "none"
    resize_filter: str = "lanczos"
    labels: str = "auto"
    channels: int = 0
    alpha: str = "white"
    depth: int = 16
    max_megapixels: int = images.MAX_PIXELS >> 20
    split: str = "train"
    max_images: int = 0
    duplicates: str = "keep"
    strict: bool = False
    overwrite: bool = False
    workers: int = 2
    content: str = "auto"
    fps: float | None = None
    skip_frames: int = 0
    max_frames: int = 0
    chunk_frames: int = 0
    min_frames: int = 3


def check_options(options: Options) -> None:
    """Check everything that can be checked without reading files.

    Raises:
        DataError: a rule is broken; the message is on the first.
    """
    allowed = {
        "content": CONTENTS,
        "transform": TRANSFORMS,
        "resize_filter": tuple(images.FILTERS),
        "labels": LABELS,
        "channels": (0, *images.MODES),
        "alpha": ALPHAS,
        "duplicates": DUPLICATES,
    }
    for key, values in allowed.items():
        if getattr(options, key) not in values:
            known = ", ".join(map(str, values))
            raise DataError(f"--{key}={getattr(options, key)} must be one of {known}")
    least = {"workers": 1, "max_images": 0, "skip_frames": 0, "max_frames": 0, "chunk_frames": 0, "min_frames": 1}
    for key, value in least.items():
        if getattr(options, key) < value:
            raise DataError(f"--{key}={getattr(options, key)} must be at least {value}")
    if options.fps is not None and not 0 < options.fps <= MAX_FPS:
        raise DataError(f"--fps={options.fps:g} must be more than 0 and at most {MAX_FPS} frames per second")
    for key in ("max_frames", "chunk_frames"):
        if 0 < getattr(options, key) < options.min_frames:
            raise DataError(
                f"--{key}={getattr(options, key)} leaves no video of --min_frames={options.min_frames}; raise it, or "
                "lower --min_frames"
            )
    if 0 < options.max_frames < options.chunk_frames:
        raise DataError(
            f"--max_frames={options.max_frames} leaves no chunk of --chunk_frames={options.chunk_frames}; raise it, or "
            "lower --chunk_frames"
        )
    if not 8 <= options.depth <= 16:
        raise DataError(f"--depth={options.depth} must be between 8 and 16 bits")
    if not 1 <= options.max_megapixels <= MAX_MEGAPIXELS:
        raise DataError(f"--max_megapixels={options.max_megapixels} must be between 1 and {MAX_MEGAPIXELS}")
    if options.resolution is None:
        if options.transform != "none":
            raise DataError(f"--transform={options.transform} needs --resolution, such as 256 or 512x384")
        return
    width, height = options.resolution
    if not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
        raise DataError(f"--resolution={width}x{height}: each side must have between 1 and {MAX_SIDE} pixels")
    other = {"center-crop-wide": "center-crop-tall", "center-crop-tall": "center-crop-wide"}
    if (options.transform == "center-crop-wide" and width < height) or (
        options.transform == "center-crop-tall" and height < width
    ):
        raise DataError(
            f"--transform={options.transform} does not fit --resolution={width}x{height}; use "
            f"--transform={other[options.transform]}"
        )


def videos_only(options: Options) -> str:
    """Return an option for videos that is not at its default, such as 'fps=25'; '' if all are."""
    changed = (f for f in dataclasses.fields(Options) if f.name in OF_VIDEOS and getattr(options, f.name) != f.default)
    return next((f"{field.name}={getattr(options, field.name)}" for field in changed), "")


def recipe_of(options: Options, channels: int) -> Recipe:
    """Return the recipe for images with this many channels."""
    return Recipe(
        channels,
        options.alpha,
        options.resolution,
        options.transform,
        options.resize_filter,
        options.depth,
        options.max_megapixels << 20,
    )
