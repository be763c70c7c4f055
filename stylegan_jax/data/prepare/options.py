"""What the tool is asked to do, and the rules for it."""

from __future__ import annotations

import dataclasses

from stylegan_jax.data import images
from stylegan_jax.data.errors import DataError
from stylegan_jax.data.prepare.convert import ALPHAS, TRANSFORMS

LABELS = ("auto", "file", "subfolders", "none")
DUPLICATES = ("keep", "drop")
MAX_SIDE = 8192
MAX_MEGAPIXELS = 2000
"""As RGB that is 6 GB, for each of --workers."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of the tool.

    Attributes:
        source: path, or tfds:NAME.
        dest: a .zip, else a folder.
        resolution: (width, height) in pixels; None leaves the size.
        transform: one of `convert.TRANSFORMS`; all but 'none' need a resolution.
        resize_filter: 'lanczos' or 'box'.
        labels: one of LABELS.
        channels: 1, 3 or 4; 0: 3 for image files, else what the source has.
        alpha: one of `convert.ALPHAS`.
        depth: bits that the values of images with 16 bits per channel use; 12: 4095 is white.
        max_megapixels: larger images are left out; 1: 2^20 pixels.
        split: 'train', 'test' or another of tensorflow_datasets; read by CIFAR and tfds sources.
        max_images: write so many at most, the first ones; 0: all.
        duplicates: 'keep' or 'drop' images whose pixels were there before.
        strict: raise an error on bad images instead of leaving them out.
        overwrite: replace what is at dest.
        workers: threads.
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


def check_options(options: Options) -> None:
    """Check what can be checked without looking at files.

    Raises:
        DataError: the first rule broken.
    """
    allowed = {
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
            raise DataError(f"--{key}={getattr(options, key)}: known are {known}")
    for key, least in (("workers", 1), ("max_images", 0)):
        if getattr(options, key) < least:
            raise DataError(f"--{key}={getattr(options, key)} must be at least {least}")
    if not 8 <= options.depth <= 16:
        raise DataError(f"--depth={options.depth}: between 8 and 16 bits")
    if not 1 <= options.max_megapixels <= MAX_MEGAPIXELS:
        raise DataError(f"--max_megapixels={options.max_megapixels}: between 1 and {MAX_MEGAPIXELS}")
    if options.resolution is None:
        if options.transform != "none":
            raise DataError(f"--transform={options.transform} needs --resolution, such as 256 or 512x384")
        return
    width, height = options.resolution
    if not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
        raise DataError(f"--resolution={width}x{height}: between 1 and {MAX_SIDE} pixels a side")
    other = {"center-crop-wide": "center-crop-tall", "center-crop-tall": "center-crop-wide"}
    if (options.transform == "center-crop-wide" and width < height) or (
        options.transform == "center-crop-tall" and height < width
    ):
        raise DataError(
            f"--transform={options.transform} does not fit --resolution={width}x{height}; use "
            f"--transform={other[options.transform]}"
        )
