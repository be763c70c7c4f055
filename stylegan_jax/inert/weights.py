"""Tensors by name from published weights files, read as data: without PyTorch, and nothing is executed.

The known files are those of torch.save, in its legacy form (five streams, then the storages) and as a zip archive;
TorchScript archives, which are such zips with classes of their own; pickled modules; pickles of containers and arrays,
also inside .npy files; and safetensors.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from stylegan_jax.inert import tensors
from stylegan_jax.inert.arrays import ArrayRecord, Global
from stylegan_jax.inert.machine import Machine
from stylegan_jax.inert.plain import DAMAGE, MAX_DEPTH, file_budget
from stylegan_jax.inert.standins import OfficialWorld, Record
from stylegan_jax.inert.stream import Budget, RefusedError, Window, signed

_NPY = b"\x93NUMPY"
_MAX_MEMBERS, _MAX_NODES = 20_000, 200_000
MAX_PATH = 1024
"""Largest number of characters of an array's dotted name."""
_TRANSPARENT = ("_parameters", "_buffers", "_modules", "state_dict", "params")
"""Keys that are left out of dotted names: those of a pickled module, and wrappers around a state dict."""
_SCRIPT_CLASSES = ("__torch__.", "torch.jit._pickle.")


def read_tensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Read all tensors of a weights file.

    Args:
        file: seekable; read from its start.

    Returns:
        Dotted name -> read-only array, dtypes as stored (bfloat16 as float32); anything else in the file is ignored.

    Raises:
        RefusedError: the file is damaged, hostile, or of another kind.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(10)
    try:
        if head[:2] != b"PK" and head[8:9] == b"{":
            file.seek(0)
            return safetensors.numpy.load(file.read())
        budget = file_budget(size)
        top = load_container(file, size, budget)
        found = {name: record.read(budget) for name, record in _walk(top, "", 0, [0])}
        if not found and isinstance(top, Record) and not top.is_known:
            raise RefusedError(top.refusal)
        return found
    except (*DAMAGE, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        raise RefusedError(f"damaged, or not a file of tensors ({type(error).__name__}: {str(error)[:200]})") from None


def load_container(file: BinaryIO, size: int, budget: Budget) -> Any:
    """Return the top of a plain pickle, or of either form of torch.save, as records; nothing is executed.

    Args:
        file: seekable, of `size` bytes.
        size: its size.
        budget: charged with everything that is read.

    Raises:
        RefusedError, zipfile.BadZipFile, or one of `plain.DAMAGE`: the file is damaged, hostile, or of another kind.
    """
    file.seek(0)
    head = file.read(10)
    if head[:2] == b"PK":
        return _from_zip(file, budget)
    if head[:6] == _NPY:
        return _from_npy(Window(file, 10 + int.from_bytes(head[8:10], "little"), size), budget)
    return _from_streams(Window(file, 0, size), budget)


def _from_npy(pickle: Window, budget: Budget) -> Any:
    """Return the single Python object, such as a dict of arrays, that `numpy.save` pickled into a file of version 1."""
    top = _from_streams(pickle, budget)
    if not isinstance(top, ArrayRecord) or type(top.raw) is not list or len(top.raw) != 1:
        raise RefusedError("a NumPy file that does not contain one dict of arrays")
    return top.raw[0]


class _FileWorld(OfficialWorld):
    """The `World` of whole files, whose storages are outside the pickle and named by persistent ids.

    Args:
        budget: charged with everything that is read.
    """

    def __init__(self, budget: Budget):
        super().__init__(budget)
        self.storages: dict[str, tensors.StorageRecord] = {}
        self._references = tensors.StorageWorld()

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a storage class, a class that the archive defines, or an allowed name."""
        if module in tensors.STORAGE_MODULES and name in tensors.ITEMS:
            return self._references.find_class(module, name)
        if f"{module}.".startswith(_SCRIPT_CLASSES) and len(module) + len(name) < 512:
            return Global(module, name)
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> tensors.StorageRecord:
        """Return the storage that `pid` names, always the same for the same key."""
        key, storage = self._references.persistent_load(pid)
        known = self.storages.setdefault(key, storage)
        if (known.kind, known.count) != (storage.kind, storage.count):
            raise RefusedError("a storage that is named twice with different sizes")
        return known


def _from_streams(window: Window, budget: Budget) -> Any:
    """Return the top of a plain pickle or of the legacy form, with the places of its storages filled in."""
    world = _FileWorld(budget)
    machine = Machine(window, world, budget)
    top = machine.load()
    if top != tensors.MAGIC or type(top) is not int:
        return top
    tensors.check_legacy_head(machine)
    top, keys = machine.load(), machine.load()
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(world.storages):
        raise RefusedError("a list of storages that is not that of the tensors")
    for key in keys:
        storage = world.storages[key]
        count = signed(window.read(8))
        if count != storage.count:
            raise RefusedError(f"a storage of {storage.count} items with {count}")
        storage.source = window.split(count * storage.item_dtype.itemsize)
    return top


def _from_zip(file: BinaryIO, budget: Budget) -> Any:
    """Return the top of a zip archive; its members are stored uncompressed."""
    _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
    found = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(members) > _MAX_MEMBERS or len(found) != 1:
        raise RefusedError(f"a zip archive of {len(members)} files with {len(found)} called data.pkl")
    prefix = found[0].removesuffix("data.pkl")
    order = members.get(f"{prefix}byteorder")
    if order is not None and _member(file, order).read(6) != b"little":
        raise RefusedError("a tensor archive of a big-endian machine")
    world = _FileWorld(budget)
    top = Machine(_member(file, members[found[0]]), world, budget).load()
    for key, storage in world.storages.items():
        if f"{prefix}data/{key}" not in members:
            raise RefusedError(f"no data for the storage {key[:80]!r}")
        storage.source = _member(file, members[f"{prefix}data/{key}"])
        if storage.source.remaining != storage.count * storage.item_dtype.itemsize:
            raise RefusedError(f"a storage of {storage.count} items with {storage.source.remaining} bytes of data")
    return top


def _check_directory(file: BinaryIO) -> None:
    """Raise RefusedError if the list of members, which zipfile reads whole, is too long."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        return  # truncated, as zipfile will report
    counts = [int.from_bytes(tail[end + 10 : end + 12], "little")]
    wide = tail.rfind(b"PK\x06\x06", 0, max(end, 0))
    counts += [int.from_bytes(tail[wide + 32 : wide + 40], "little")] * (wide >= 0)
    lengths = [int.from_bytes(tail[end + 12 : end + 16], "little") % 0xFFFFFFFF]
    lengths += [int.from_bytes(tail[wide + 40 : wide + 48], "little")] * (wide >= 0)
    if max(counts) > 0xFFFF or max(lengths) > _MAX_MEMBERS << 10:
        raise RefusedError(f"a zip archive of {max(counts)} files with a directory of {max(lengths)} bytes")


def _member(file: BinaryIO, info: zipfile.ZipInfo) -> Window:
    """Return a window on the bytes of an uncompressed member."""
    file.seek(info.header_offset)
    header = file.read(30)
    if info.compress_type != zipfile.ZIP_STORED or len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise RefusedError("a compressed or damaged member of the archive")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + 30 + lengths
    return Window(file, start, start + info.file_size)


def _walk(value: Any, name: str, depth: int, nodes: list[int]) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, tensor or array) of everything below a value."""
    nodes[0] += 1
    if len(name) > MAX_PATH:
        raise RefusedError(f"the name of an array is longer than {MAX_PATH} characters")
    if depth > MAX_DEPTH or nodes[0] > _MAX_NODES:
        raise RefusedError("data nested too deeply or repeated too often")
    if isinstance(value, tensors.TensorRecord | ArrayRecord):
        yield name, value
    inner = value.state if isinstance(value, Record) else value
    if type(inner) is dict:
        nodes[0] += len(inner)
        for key, item in inner.items():
            if isinstance(key, str):
                path = name if key in _TRANSPARENT else f"{name}.{key}" if name else key
                yield from _walk(item, path, depth + 1, nodes)
