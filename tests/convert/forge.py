"""Writes files that look official, byte for byte by its own rules: no official code, no PyTorch, no TensorFlow."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np


class Name:
    """A global name that need not exist."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self) -> None:
        raise AssertionError("a forged name is never called")


class Call:
    """REDUCE of `function` on `args`, then items, or BUILD with `state`."""

    def __init__(self, function: Any, *args: Any, state: Any = None, items: list[tuple[Any, Any]] | None = None):
        self.function, self.args, self.state, self.items = function, args, state, items


class New:
    """NEWOBJ of `cls`, then items or state."""

    def __init__(self, cls: Any, items: dict[Any, Any] | None = None, state: Any = None):
        self.cls, self.items, self.state = cls, items, state


class Persistent:
    """BINPERSID of `pid`."""

    def __init__(self, pid: Any):
        self.pid = pid


class Py2String:
    """A byte string as Python 2 writes it."""

    def __init__(self, data: bytes):
        self.data = data


_PurePickler: Any = vars(pickle)["_Pickler"]


class ForgePickler(_PurePickler):
    """Python's own pure pickler plus the classes above."""

    dispatch: ClassVar[Any] = dict(_PurePickler.dispatch)

    def save_name(self, obj: Name) -> None:
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def save_call(self, obj: Call) -> None:
        self.save(obj.function)
        self.save(obj.args)
        self.write(pickle.REDUCE)
        self.memoize(obj)
        if obj.items:
            self._batch_setitems(iter(obj.items))
        self._save_state(obj.state)

    def save_new(self, obj: New) -> None:
        self.save(obj.cls)
        self.save(())
        self.write(pickle.NEWOBJ)
        self.memoize(obj)
        if obj.items:
            self._batch_setitems(iter(obj.items.items()))
        self._save_state(obj.state)

    def save_persistent(self, obj: Persistent) -> None:
        self.save(obj.pid)
        self.write(pickle.BINPERSID)

    def save_py2(self, obj: Py2String) -> None:
        self.write(pickle.BINSTRING + struct.pack("<I", len(obj.data)) + obj.data)

    def save_ordered(self, obj: OrderedDict) -> None:
        self.save(Name("collections", "OrderedDict"))
        self.save(())
        self.write(pickle.REDUCE)
        self.memoize(obj)
        self._batch_setitems(iter(obj.items()))

    def _save_state(self, state: Any) -> None:
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call
    dispatch[New] = save_new
    dispatch[Persistent] = save_persistent
    dispatch[Py2String] = save_py2
    dispatch[OrderedDict] = save_ordered


def dumps(obj: Any, protocol: int = 4) -> bytes:
    file = io.BytesIO()
    ForgePickler(file, protocol).dump(obj)
    return file.getvalue()


# ---- tensors ----

KINDS = {"float32": "Float", "float16": "Half", "float64": "Double", "int64": "Long", "int32": "Int", "bool": "Bool"}
KINDS |= {"int16": "Short", "int8": "Char", "uint8": "Byte"}


def stream(
    raw: bytes,
    kind: str,
    count: int,
    *,
    header: tuple[int, int] = (0x1950A86A20F9469CFC6C, 1001),
    written: int = -1,
    place: str = "cpu",
) -> bytes:
    """The legacy nested stream of one storage."""
    sizes = {"short": 2, "int": 4, "long": 4}
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    ref = Persistent(("storage", Name("torch", kind), "94712", place, count, None))
    parts = [dumps(part, 2) for part in (*header, info, ref, ["94712"])]
    return b"".join(parts) + struct.pack("<q", count if written < 0 else written) + raw


def zip_stream(raw: bytes, kind: str, count: int, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The newer nested form."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", dumps(Persistent(("storage", Name("torch", kind), "0", "cpu", count)), 2))
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", raw)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


class Container:
    """What torch.save writes: storages beside the pickle; pass it as `form`, then `zip` or `legacy` what was made."""

    def __init__(self) -> None:
        self.storages: list[bytes] = []

    def add(self, raw: bytes, kind: str, count: int) -> Persistent:
        self.storages.append(raw)
        return Persistent(("storage", Name("torch", kind), str(len(self.storages) - 1), "cpu", count))

    def zip(self, content: Any) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", dumps(content, 2))
            archive.writestr("archive/byteorder", "little")
            for key, raw in enumerate(self.storages):
                archive.writestr(f"archive/data/{key}", raw)
        return file.getvalue()

    def legacy(self, content: Any, itemsize: int = 4) -> bytes:
        info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
        keys = [str(key) for key in range(len(self.storages))]
        head = b"".join(dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, info, content, keys))
        return head + b"".join(struct.pack("<q", len(raw) // itemsize) + raw for raw in self.storages)


def storage(array: np.ndarray, form: Any = stream) -> Any:
    kind = f"{KINDS[array.dtype.name]}Storage"
    flat = np.ascontiguousarray(array).reshape(-1)
    if isinstance(form, Container):
        return form.add(flat.tobytes(), kind, flat.size)
    return Call(Name("torch.storage", "_load_from_bytes"), form(flat.tobytes(), kind, flat.size))


def view(store: Any, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Call:
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), store, offset, size, stride, False, OrderedDict())


def tensor(array: np.ndarray, *, channels_last: bool = False, form: Any = stream) -> Call:
    array = np.asarray(array)
    if channels_last:
        _, c, h, w = array.shape
        return view(storage(array.transpose(0, 2, 3, 1), form), array.shape, (h * w * c, 1, w * c, c))
    strides = tuple(s // array.itemsize for s in np.ascontiguousarray(array).strides) if array.ndim else ()
    return view(storage(array, form), array.shape, strides)


def parameter(array: np.ndarray, **kwargs: Any) -> Call:
    return Call(Name("torch._utils", "_rebuild_parameter"), tensor(array, **kwargs), False, OrderedDict())


# ---- modules ----


def easy(items: dict[str, Any], place: str = "") -> New:
    return New(Name(f"{place}dnnlib.util", "EasyDict"), items)


def persistent(class_name: str, state: dict[str, Any], place: str = "") -> Call:
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit('run')", "class_name": class_name}
    return Call(Name(f"{place}torch_utils.persistence", "_reconstruct_persistent_obj"), {**meta, "state": state})


def by_name(class_name: str, state: dict[str, Any]) -> New:
    """A module of a class that is pickled by its name."""
    return New(Name(*class_name.rsplit(".", 1)) if "." in class_name else Name("torch.nn", class_name), state=state)


def network(
    class_name: str,
    arrays: dict[str, np.ndarray],
    init_kwargs: dict[str, Any],
    *,
    buffers: tuple[str, ...] = ("resample_filter", "noise_const", "w_avg"),
    attributes: dict[str, dict[str, Any]] | None = None,
    init_args: tuple[Any, ...] = (),
    module: Callable[[str, dict[str, Any]], Any] = persistent,
    classes: dict[str, str] | None = None,
    **tensor_kwargs: Any,
) -> Any:
    """A module tree from dotted names; `buffers` lists the leaves that are buffers, `module` writes a module.

    `classes` names those of modules by path; one with a dot is pickled by its name, whatever `module` is.
    """
    root: dict[str, Any] = {}
    for name, array in arrays.items():
        node = root
        *path, leaf = name.split(".")
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = array

    known = classes or {}

    def make(path: str, node: dict[str, Any], cls: str) -> Any:
        leaves = {k: v for k, v in node.items() if not isinstance(v, dict)}
        state = {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict(), "_backward_hooks": {}}
        state["_modules"] = OrderedDict()
        state["_non_persistent_buffers_set"] = set()
        for leaf, array in leaves.items():
            options = {k: v for k, v in tensor_kwargs.items() if k != "channels_last" or np.ndim(array) == 4}
            is_buffer = leaf in buffers or f"{path}.{leaf}" in buffers
            state["_buffers" if is_buffer else "_parameters"][leaf] = (tensor if is_buffer else parameter)(
                array, **options
            )
        for key, child in node.items():
            if isinstance(child, dict):
                state["_modules"][key] = make(inner := f"{path}.{key}".strip("."), child, known.get(inner, "Layer"))
        state |= (attributes or {}).get(path, {})
        if not path:
            state |= {"_init_args": init_args, "_init_kwargs": easy(init_kwargs)}
        return by_name(cls, state) if "." in cls else module(cls, state)

    return make("", root, class_name)


# ---- NumPy and TensorFlow-era networks ----


def ndarray(array: np.ndarray, core: str = "numpy.core", raw: Any = None, code: str = "") -> Call:
    dtype = Call(Name("numpy", "dtype"), code or array.dtype.str[1:], False, True)
    dtype.state = (3, "<", None, None, None, -1, -1, 0)
    state = (1, array.shape, dtype, False, np.ascontiguousarray(array).tobytes() if raw is None else raw)
    return Call(Name(f"{core}.multiarray", "_reconstruct"), Name("numpy", "ndarray"), (0,), b"b", state=state)


def tf_network(
    name: str, version: int, static_kwargs: dict[str, Any], variables: dict[str, np.ndarray], func: str = "G_main"
) -> New:
    """A network whose variables below 'mapping/' and 'synthesis/' live in components."""
    components: dict[str, Any] = {}
    own = dict(variables)
    for part in ("mapping", "synthesis"):
        inner = {k.removeprefix(part + "/"): own.pop(k) for k in list(own) if k.startswith(part + "/")}
        if inner:
            components[part] = tf_network(part, version, {}, inner, f"G_{part}")
    state = {
        "version": version,
        "name": name,
        "static_kwargs": easy(static_kwargs),
        "components": easy(components),
        "build_module_src": "raise SystemExit('run')",
        "build_func_name": func,
        "variables": [(k, ndarray(v)) for k, v in own.items()],
    }
    return New(Name("dnnlib.tflib.network", "Network"), state=state)
