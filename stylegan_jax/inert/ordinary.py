"""Files mistaken for a network or a data set: what they are, judging by their first bytes, and what to do."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

_HEAD = 1024
_URL = re.compile(r"(?P<scheme>https?|ftp|s3|gs|git|file):/{1,2}(?P<rest>.*)", re.IGNORECASE)
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
}
_OTHERS = {
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF8": "a picture (GIF)",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x7fELF": "a program",
}
_SUFFIXES = {
    ".onnx": "an ONNX model",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow graph",
    ".index": "a part of a TensorFlow checkpoint",
    ".meta": "a part of a TensorFlow checkpoint",
    ".gguf": "a GGUF file",
}
_FOREIGN = {
    "saved_model.pb": "is a TensorFlow SavedModel",
    "checkpoint": "is a TensorFlow checkpoint",
    "*.ckpt*.index": "is a TensorFlow checkpoint",
    "model_index.json": "is a model of Diffusers",
    "pytorch_model.bin": "is a model of Transformers",
}
_MAX_DIRECTORY = 1 << 20


def is_pointer(head: bytes) -> bool:
    """Return whether a file begins like the pointer that Git LFS leaves instead of a large file."""
    return head.startswith(b"version https://git-lfs.github.com")


def wrong_file(file: BinaryIO, wanted: str = "a network") -> str:
    """Return what a file is, and what to do, if it is a common file that cannot contain what is wanted.

    Args:
        file: seekable; read from its start.
        wanted: 'a network', 'a data set', 'styles', 'directions'.

    Returns:
        A text that completes 'FILE: …'; '' for anything else.
    """
    file.seek(0)
    head = file.read(_HEAD)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        return "is empty; download it again"
    if is_pointer(head):
        return "is a Git LFS pointer, not the file itself; run 'git lfs pull' in the checkout, or download the file"
    if re.match(rb"<[a-z!?]", text[:2].lower()):
        return f"is a web page, not {wanted}; the download needs another address, a login or a confirmation"
    packed = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), "")
    packed = packed or ("tar" if head[257:262] == b"ustar" else "")
    if packed:
        return f"is packed with {packed}; unpack it first, and pass what is in it"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return _beside(file, "is a safetensors file, which does not say how its network is built")
    if text[:1] in (b"{", b"[") and re.match(rb"[{\[]\s*([\"{}\[\]\d-]|$)", text):
        return _beside(file, f"is JSON, not {wanted}")
    if head.startswith(b"PK") and wanted == "a network":
        return _zipped(file)
    kinds = [kind for magic, kind in _OTHERS.items() if head.startswith(magic)]
    kinds += [kind for suffix, kind in _SUFFIXES.items() if str(getattr(file, "name", "")).lower().endswith(suffix)]
    if not kinds and wanted != "a data set" and re.fullmatch(rb"[\t\n\r -~]+", head):
        kinds = ["text"]
    return f"is {kinds[0]}, not {wanted}" if kinds else ""


def _zipped(file: BinaryIO) -> str:
    """Return what a zip archive contains if torch.save did not write it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or int.from_bytes(tail[end + 12 : end + 16], "little") > _MAX_DIRECTORY:
        return ""  # truncated, or with an impossibly long directory
    try:
        names = zipfile.ZipFile(file).namelist()
    except (ValueError, OSError, EOFError, LookupError, RuntimeError, zipfile.BadZipFile):
        return ""
    if any(os.path.basename(name) == "data.pkl" for name in names):
        return ""
    if any(os.path.basename(name) == "model.json" for name in names):
        return "is a zip archive with a model folder; unpack it, and pass the folder"
    if found := [name for name in names if name.lower().endswith((".pkl", ".pt", ".pth"))]:
        return f"is a zip archive with {found[0]!r:.80}; unpack it first, and pass that file"
    is_arrays = names and all(name.endswith(".npy") for name in names)
    return "is a file of NumPy arrays (.npz), not a network" if is_arrays else "is a zip archive without a network"


def foreign_folder(folder: Path) -> str:
    """Describe a folder that another library wrote a model into; '' for anything else."""
    with contextlib.suppress(OSError):
        for pattern, kind in _FOREIGN.items():
            if next((path for path in folder.glob(pattern) if path.is_file()), None):
                return f"{kind}, which is not read"
        if found := sorted(folder.glob("*.safetensors")):
            return f"has {found[0].name!r:.80} but no model.json, which says how the network is built"
    return ""


def _beside(file: BinaryIO, what: str) -> str:
    """Return `what`, with advice to pass the folder if the file is part of a model."""
    folder = os.path.dirname(os.path.abspath(getattr(file, "name", "") or "."))
    names = ("model.json", "weights.safetensors", "checkpoints")
    has_model = any(os.path.exists(os.path.join(folder, name)) for name in names)
    return f"{what}; pass the folder that it is in" if has_model else what


def newest_file(folder: Path) -> str:
    """Return the newest network file of another library in a folder or its subfolders, relative to it; '' for none.

    The newest has the highest number in a name such as network-snapshot-000123.pkl; without such names, the latest
    time.
    """
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for pattern in ("*.pkl", "*.pt", "*.pth", "*/*.pkl"):
            found += [path for path in itertools.islice(folder.glob(pattern), 10_000) if path.is_file()]
    snapshots = [path for path in found if re.fullmatch(r"network-snapshot-\d+", path.stem)]
    if snapshots:
        newest = max(snapshots, key=lambda path: (str(path.parent), int(path.stem.rpartition("-")[2])))
    elif found:
        newest = max(found, key=lambda path: (path.stat().st_mtime, path.name))
    else:
        return ""
    return str(newest.relative_to(folder))


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a web address; `Path` may have removed one of its slashes."""
    return _URL.match(os.fspath(path)) is not None


def url_advice(path: str | os.PathLike[str]) -> str:
    """Return what to do with a web address; see `is_url`."""
    found = _URL.match(os.fspath(path))
    assert found is not None
    address = f"{found['scheme']}://{found['rest']}"
    if found["scheme"].lower() == "file":
        return f"{address} is an address; pass the path, {found['rest']}"
    hub = re.match(r"(?:www\.)?huggingface\.co/([\w.-]+/[\w.-]+)/?$", found["rest"])
    if hub:
        return f"{address} is a web address; for a model folder on the Hugging Face Hub write hf://{hub[1]}"
    return (
        f"{address} is a web address; download the file, and pass its path (model folders on the Hub: hf://USER/NAME)"
    )
