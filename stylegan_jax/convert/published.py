"""Published models that `convert` and `load_model` read: where their owners offer them, and under which licence.

The table is for people and messages; nothing here accesses the network. Models have a checksum if the owner publishes
one.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import NamedTuple

_SG1 = "https://drive.google.com/uc?id="
_SG2 = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
_SOURCE_NETS = f"{_ADA}transfer-learning-source-nets/"
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/{}/versions/1/files/"
_R3 = "https://huggingface.co/brownvc/"
_XL = "https://s3.eu-central-1.amazonaws.com/avg-projects/stylegan_xl/models/"
_V = "https://disk.yandex.ru/d/v7MS7zu4mmZxXw"

LICENCES = {
    "CC BY-NC 4.0": "NVIDIA's StyleGAN; non-commercial",
    "NVIDIA NC": "NVIDIA Source Code License; research or evaluation, non-commercial",
    "mixed": "the authors' code is MIT with parts under NVIDIA's non-commercial licence; the files state none",
    "unclear": "the owner states none, and says that NVIDIA's non-commercial licence is likely to apply",
    "none stated": "the owner states no licence: ask before any use beyond evaluation",
}


class Published(NamedTuple):
    """A published model.

    Attributes:
        name: of the file, or of the archive that contains it.
        arch: our name of its architecture.
        size: of its images, WIDTHxHEIGHT.
        data: what it was trained on.
        licence: a key of `LICENCES`.
        address: where the owner offers it.
        sha256: of the file; '' if the owner publishes none.
        classes: number of its labels' classes; 0 without labels.
        note: a few words that distinguish it from similar models.
        fid: FID that the owner states, of 50,000 images against the whole training set; 0: not recorded here.
    """

    name: str
    arch: str
    size: str
    data: str
    licence: str
    address: str
    sha256: str = ""
    classes: int = 0
    note: str = ""
    fid: float = 0.0

    @property
    def shown(self) -> str:
        """The data, with the note that distinguishes the model from similar ones."""
        return self.data + ", with classes" * (self.classes > 0) + f", {self.note}" * bool(self.note)


def _stylegan1() -> list[Published]:
    rows = (
        ("ffhq-1024x1024", "FFHQ", "1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ"),
        ("celebahq-1024x1024", "CelebA-HQ", "1MGqJl28pN4t7SAtSrPdSRJSQJqahkzUf"),
        ("bedrooms-256x256", "LSUN bedroom", "1MOSKeGF0FJcivpBI7s63V9YHloUTORiF"),
        ("cars-512x384", "LSUN car", "1MJ6iCfNtMIRicihwRorsM3b7mmtmK9c3"),
        ("cats-256x256", "LSUN cat", "1MQywl0FNt6lHu8E_EUqnRbviagS7fbiJ"),
    )
    return [
        Published(f"karras2019stylegan-{n}.pkl", "stylegan1", n.split("-")[1], data, "CC BY-NC 4.0", _SG1 + key)
        for n, data, key in rows
    ]


def _stylegan2() -> list[Published]:
    rows = (
        ("ffhq", "1024x1024", "FFHQ"),
        ("car", "512x384", "LSUN car"),
        ("cat", "256x256", "LSUN cat"),
        ("church", "256x256", "LSUN church"),
        ("horse", "256x256", "LSUN horse"),
    )
    made = [(f"stylegan2-{name}-config-f.pkl", size, data, _SG2) for name, size, data in rows]
    made += [
        ("ffhq.pkl", "1024x1024", "FFHQ", _ADA),
        ("metfaces.pkl", "1024x1024", "MetFaces", _ADA),
        ("afhqcat.pkl", "512x512", "AFHQ cat", _ADA),
        ("afhqdog.pkl", "512x512", "AFHQ dog", _ADA),
        ("afhqwild.pkl", "512x512", "AFHQ wild", _ADA),
        ("brecahad.pkl", "512x512", "BreCaHAD", _ADA),
        ("cifar10.pkl", "32x32", "CIFAR-10", _ADA),
        ("ffhq-res1024-mirror-stylegan2-noaug.pkl", "1024x1024", "FFHQ", _SOURCE_NETS),
        ("ffhq-res512-mirror-stylegan2-noaug.pkl", "512x512", "FFHQ", _SOURCE_NETS),
        ("ffhq-res256-mirror-paper256-noaug.pkl", "256x256", "FFHQ", _SOURCE_NETS),
        ("celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl", "256x256", "CelebA-HQ", _SOURCE_NETS),
        ("lsundog-res256-paper256-kimg100000-noaug.pkl", "256x256", "LSUN dog", _SOURCE_NETS),
    ]
    ngc = "ffhq-1024 ffhq-512 ffhq-256 ffhqu-1024 ffhqu-256 metfaces-1024 metfacesu-1024 afhqv2-512"
    made += [_of_ngc("stylegan2", name) for name in ngc.split()]
    return [
        Published(
            name,
            "stylegan2",
            size,
            data,
            "NVIDIA NC",
            root + name,
            classes=10 * (name == "cifar10.pkl"),
            note="to start from" if name.startswith("ffhq-res") else "",
        )
        for name, size, data, root in made
    ]


def _of_ngc(kind: str, name: str) -> tuple[str, str, str, str]:
    data, height = name.removeprefix("t-").removeprefix("r-").rsplit("-", 1)
    shown = {"ffhq": "FFHQ", "ffhqu": "FFHQ, unaligned", "metfaces": "MetFaces", "metfacesu": "MetFaces, unaligned"}
    size = f"{height}x{height}"
    family = kind.partition("-")[0]
    return f"{family}-{name.rsplit('-', 1)[0]}-{size}.pkl", size, shown.get(data, "AFHQ v2"), _NGC.format(family)


def _stylegan3() -> list[Published]:
    names = "ffhq-1024 ffhqu-1024 ffhqu-256 metfaces-1024 metfacesu-1024 afhqv2-512"
    made = [_of_ngc("stylegan3", f"{kind}-{name}") for kind in "tr" for name in names.split()]
    return [Published(name, "stylegan3", size, data, "NVIDIA NC", root + name) for name, size, data, root in made]


def _r3gan() -> list[Published]:
    ffhq256 = "2e8e6ba20ff42766fb21b67dd45ae865da29dc00b7dab890be16735e3fb8fc5d"
    rows = (
        ("FFHQ-256x256", "256x256", "FFHQ", 0, ffhq256),
        ("FFHQ-64x64", "64x64", "FFHQ", 0, ""),
        ("ImgNet-64x64", "64x64", "ImageNet", 1000, ""),
        ("ImgNet-32x32", "32x32", "ImageNet", 1000, ""),
        ("CIFAR10", "32x32", "CIFAR-10", 10, ""),
    )
    return [
        Published(f"R3GAN-{name}", "r3gan", size, data, "none stated", f"{_R3}R3GAN-{name}", sha, classes)
        for name, size, data, classes, sha in rows
    ]


def _stylegan_xl() -> list[Published]:
    imagenet = {16: 0.73, 32: 1.11, 64: 1.52, 128: 1.77, 256: 2.26, 512: 2.42, 1024: 2.51}
    rows = (
        ("ImageNet", 1000, imagenet, "imagenet{}.pkl"),
        ("CIFAR-10", 10, {32: 1.85}, "cifar10.pkl"),
        ("FFHQ", 0, {256: 2.19, 512: 2.23, 1024: 2.02}, "ffhq{}.pkl"),
        ("Pokemon", 0, {256: 23.97, 512: 23.82, 1024: 25.47}, "pokemon{}.pkl"),
    )
    return [
        Published(
            stem.format(size),
            "stylegan_xl",
            f"{size}x{size}",
            data,
            "mixed",
            _XL + stem.format(size),
            classes=classes,
            fid=fid,
        )
        for data, classes, fids, stem in rows
        for size, fid in fids.items()
    ]


def _stylegan_v() -> list[Published]:
    return [
        Published(f"StyleGAN-V-{data}", "stylegan_v", "256x256", data, "unclear", _V, note="videos")
        for data in ("FaceForensics", "SkyTimelapse")
    ]


PUBLISHED: tuple[Published, ...] = (
    *_stylegan1(),
    *_stylegan2(),
    *_stylegan3(),
    *_stylegan_xl(),
    *_r3gan(),
    *_stylegan_v(),
)


def advice(path: str | os.PathLike[str]) -> str:
    """Return where to get a missing file, after a semicolon; '' unless models are published under its name."""
    name = PurePath(path).name
    name = name if name.endswith(".pkl") else f"{name}.pkl"
    found = [f"{m.data} at {m.size} is published at {m.address}" for m in PUBLISHED if m.name == name]
    return f"; {', or '.join(found)}" if found else ""
