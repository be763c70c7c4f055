"""PyTorch's storages and tensors, read with NumPy alone.

A plain `pickle.dump` of a module writes each storage as the bytes of a nested `torch.save` stream. The legacy form is
five parts: magic number, protocol, system information, a pickled reference to the storage, a list of keys; then an
int64 count and the raw items. The newer form is an uncompressed zip archive.
"""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
from typing import Any

import numpy as np

from stylegan_jax.inert.machine import Machine
from stylegan_jax.inert.stream import Budget, RefusedError, Window, show, signed

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

# Storage class -> how its items are stored; bfloat16 has no NumPy type and is widened on reading.
ITEMS = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
    "UntypedStorage": "u1",
}


STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")


class StorageRecord:
    """The items of one or more tensors, read from the file when first needed.

    Attributes:
        kind: PyTorch's class name, such as 'FloatStorage'.
        count: number of items.
    """

    def __init__(self, kind: str, count: int, source: Window | None = None):
        """Store the place of the items."""
        self.kind, self.count, self.source = kind, count, source
        self._array: np.ndarray | None = None

    @property
    def item_dtype(self) -> np.dtype:
        """Dtype of an item in the file."""
        return np.dtype(ITEMS[self.kind])

    def read(self, budget: Budget) -> np.ndarray:
        """Return all items as a read-only 1-D array; bfloat16 as float32."""
        if self._array is not None:
            return self._array
        if self.source is None:
            raise RefusedError("a storage without content")
        items = self.source.copy().array(self.item_dtype, self.count, budget)
        if self.kind == "BFloat16Storage":
            budget.charge(4 * self.count)
            items = (items.astype(np.uint32) << 16).view(np.float32)
        elif self.kind == "BoolStorage":
            items = items != 0
        items.flags.writeable = False
        self._array = items
        return items


@dataclasses.dataclass(frozen=True, eq=False)
class TensorRecord:
    """A view of a storage; offset and strides count items, and the view is inside the storage."""

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, budget: Budget) -> np.ndarray:
        """Return the tensor, C-contiguous and read-only; a view of the storage if its strides allow."""
        items = self.storage.read(budget)
        steps = tuple(s * items.itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(items[self.offset :], self.size, steps, writeable=False)
        if view.flags.c_contiguous and view.flags.aligned:
            return view
        budget.charge(view.size * items.itemsize)
        out = np.ascontiguousarray(view)
        out.flags.writeable = False
        return out


def tensor_record(storage: StorageRecord, offset: Any, size: tuple[int, ...], stride: tuple[int, ...]) -> TensorRecord:
    """Return the tensor after checking that it stays inside its storage.

    Raises:
        RefusedError: it reaches outside, or has more items than the storage.
    """
    if type(offset) is not int or offset < 0 or len(size) != len(stride):
        raise RefusedError("a tensor with an impossible offset or stride")
    count = math.prod(size)
    if count > storage.count:
        raise RefusedError(f"a tensor of shape {size} on a storage of {storage.count} items")
    if not count:
        return TensorRecord(storage, 0, size, (1,) * len(size))
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= storage.count:
        raise RefusedError(f"a tensor of shape {size} ends at item {last} of a storage of {storage.count}")
    return TensorRecord(storage, offset, size, stride)


class _StorageClass(str):
    """The class of a storage inside a tensor stream."""

    __slots__ = ()


class StorageWorld:
    """The `World` of a tensor stream, where only storages occur."""

    def find_class(self, module: str, name: str) -> Any:
        if module in STORAGE_MODULES and name in ITEMS:
            return _StorageClass(name)
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise RefusedError(f"a tensor stream asks for {show(f'{module}.{name}')}; nothing was executed")

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) not in (tuple, list) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise RefusedError("a persistent id that is not a storage")
        _, kind, key, _, count = pid[:5]
        if type(kind) is not _StorageClass or type(key) is not str or type(count) is not int or count < 0:
            raise RefusedError("a storage reference of the wrong types")
        if len(pid) == 6 and pid[5] is not None:
            raise RefusedError("a storage that is a view of another")
        return key, StorageRecord(str(kind), count)

    def reduce(self, function: Any, args: Any) -> Any:
        if function is dict and args == ():
            return {}
        raise RefusedError("a call inside a tensor stream")

    def new(self, cls: Any, args: Any, kwargs: Any) -> Any:
        raise RefusedError("an instance inside a tensor stream")

    def build(self, obj: Any, state: Any) -> Any:
        raise RefusedError("a state inside a tensor stream")


def _reference(value: Any) -> tuple[str, StorageRecord]:
    if type(value) is tuple and len(value) == 2 and isinstance(value[1], StorageRecord):
        return value
    raise RefusedError("a tensor stream that contains something other than one storage")


def check_legacy_head(machine: Machine) -> None:
    """Read what follows the magic number of the legacy form: protocol and system information.

    Raises:
        RefusedError: the protocol is another one, or the machine was big-endian.
    """
    if machine.load() != _PROTOCOL:
        raise RefusedError("a tensor stream of an unknown protocol")
    info = machine.load()
    if type(info) is not dict or info.get("little_endian") is not True:
        raise RefusedError("a tensor stream of a big-endian machine")


def load_storage(window: Window, budget: Budget) -> StorageRecord:
    """Read the nested stream of `torch.storage._load_from_bytes`.

    Args:
        window: the nested bytes.
        budget: charged for what is read.

    Returns:
        The storage; its items stay in the file until they are needed.

    Raises:
        RefusedError: the stream does not have exactly one storage, or sizes contradict each other.
    """
    if window.copy().read(2) == b"PK":
        return _load_zip(window, budget)
    machine = Machine(window, StorageWorld(), budget)
    if machine.load() != MAGIC:
        raise RefusedError("a tensor stream without the PyTorch magic number")
    check_legacy_head(machine)
    key, storage = _reference(machine.load())
    if machine.load() != [key]:
        raise RefusedError("a tensor stream that does not list its one storage")
    count = signed(window.read(8))
    if count != storage.count or window.remaining != count * storage.item_dtype.itemsize:
        raise RefusedError(f"a storage of {storage.count} items with {window.remaining} bytes of data")
    storage.source = window
    return storage


def _load_zip(window: Window, budget: Budget) -> StorageRecord:
    """Read the zip form, which has few members, stored uncompressed."""
    total = window.remaining
    budget.charge(2 * total)
    with zipfile.ZipFile(io.BytesIO(window.read(total))) as archive:
        members = {i.filename: i for i in archive.infolist()}
        if len(members) > 16 or any(i.compress_type or i.file_size > total for i in members.values()):
            raise RefusedError("a tensor archive with compressed or too many members")
        (pickle_name,) = (name for name in members if name.endswith("/data.pkl"))
        prefix = pickle_name.removesuffix("data.pkl")
        if f"{prefix}byteorder" in members and archive.read(f"{prefix}byteorder") != b"little":
            raise RefusedError("a tensor archive of a big-endian machine")
        machine = Machine(Window.of_bytes(archive.read(pickle_name)), StorageWorld(), budget)
        key, storage = _reference(machine.load())
        raw = archive.read(f"{prefix}data/{key}")
    if len(raw) != storage.count * storage.item_dtype.itemsize:
        raise RefusedError(f"a storage of {storage.count} items with {len(raw)} bytes of data")
    storage.source = Window.of_bytes(raw)
    return storage
