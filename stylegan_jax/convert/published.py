"""Models that their authors published as files: which to fetch, from where. Nothing here opens a connection."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import NamedTuple

_XL = "https://s3.eu-central-1.amazonaws.com/avg-projects/stylegan_xl/models/"


class Published(NamedTuple):
    """A published network file.

    Attributes:
        architecture: which `--model.arch` it has.
        data: data set that it was trained on.
        resolution: height and width of its images.
        classes: of its labels; 0 without.
        fid: published FID, of 50,000 images against the whole training set.
        address: where its authors keep it.
    """

    architecture: str
    data: str
    resolution: int
    classes: int
    fid: float
    address: str


def _xl(data: str, classes: int, fids: dict[int, float], stem: str) -> dict[str, Published]:
    files = {size: stem.format(size) for size in fids}
    return {
        files[size]: Published("stylegan_xl", data, size, classes, fid, _XL + files[size]) for size, fid in fids.items()
    }


IMAGENET = {16: 0.73, 32: 1.11, 64: 1.52, 128: 1.77, 256: 2.26, 512: 2.42, 1024: 2.51}
PUBLISHED: dict[str, Published] = {
    **_xl("ImageNet", 1000, IMAGENET, "imagenet{}.pkl"),
    **_xl("CIFAR-10", 10, {32: 1.85}, "cifar10.pkl"),
    **_xl("FFHQ", 0, {256: 2.19, 512: 2.23, 1024: 2.02}, "ffhq{}.pkl"),
    **_xl("Pokemon", 0, {256: 23.97, 512: 23.82, 1024: 25.47}, "pokemon{}.pkl"),
}
"""File name -> what it is; every file holds G, G_ema and D."""


def advice(path: str | os.PathLike[str]) -> str:
    """Return where to get a file that is not there, after a semicolon; '' unless its name is one of `PUBLISHED`."""
    name = PurePath(path).name
    found = PUBLISHED.get(name if name.endswith(".pkl") else f"{name}.pkl")
    return f"; {found.data} at {found.resolution}x{found.resolution} is published at {found.address}" if found else ""
