"""Stand-ins for every name that an official pickle may mention, and the allow-list of those names.

Nothing here imports, looks up or calls what a file asks for: a name becomes a `Global`, an instance a `Record`, a
tensor a `TensorRecord` that still has to be read. Names off the list are refused at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from stylegan_jax.convert.machine import check_key
from stylegan_jax.convert.stream import Budget, RefusedError, Window, show
from stylegan_jax.convert.tensors import StorageRecord, TensorRecord, load_storage, tensor_record

_DICTS = ("collections.OrderedDict", "dnnlib.util.EasyDict", "dnnlib.EasyDict", "builtins.dict", "__builtin__.dict")
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
_SCALAR_TYPES = ("object", "list", "tuple", "int", "float", "bool", "str", "bytes", "bytearray", "complex", "slice")
_NUMPY_DTYPE = re.compile(r"(b1|[iu][1248]|f[248])")

# Modules whose classes hold data: recorded by name, whatever the class.
RECORDED_MODULES = (
    "dnnlib.",
    "feature_networks.",
    "omegaconf.",
    "pg_modules.",
    "src.",
    "timm.",
    "torch.nn.",
    "torch_utils.",
    "torchvision.",
    "training.",
    "typing.",
)
RECORDED_NAMES = frozenset(
    {f"{m}.{n}" for m in ("builtins", "__builtin__") for n in _SCALAR_TYPES}
    | {f"torch.{n}" for n in ("float16", "float32", "float64", "bfloat16", "int64", "int32", "uint8", "bool")}
    | {"collections.defaultdict", "functools.partial", "numpy.ndarray", "tfutil.Network", "torch.Tensor"}
)


class Global:
    """A name in a file: `qualified` is `module.name`."""

    is_stand_in = True

    def __init__(self, module: str, name: str):
        """Remember the name."""
        self.qualified = f"{module}.{name}"


class Record:
    """An instance or the result of a call that was written down instead of made.

    Attributes:
        cls: qualified name of its class, or of the called function.
        args: positional arguments.
        state: what BUILD gave, usually the instance dict.
        version: `torch_utils.persistence` version of a persistent object, else 0.
    """

    is_stand_in = True

    def __init__(self, cls: str, args: tuple[Any, ...] = (), state: Any = None, version: int = 0):
        """Store the parts."""
        self.cls, self.args, self.state, self.version = cls, args, state, version


@dataclasses.dataclass(eq=False)
class DtypeRecord:
    """A NumPy dtype: `code` such as 'f4', `order` one of '<', '>'."""

    code: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype:
        """The dtype itself."""
        return np.dtype(self.order + self.code)


@dataclasses.dataclass(eq=False)
class ArrayRecord:
    """A NumPy array that is still in the file; `shape` is None before BUILD."""

    shape: tuple[int, ...] | None = None
    dtype: DtypeRecord | None = None
    fortran: bool = False
    raw: str | bytes | Window = b""

    def fill(self, state: Any) -> None:
        """Take the state that NumPy pickles: (version, shape, dtype, is_fortran, raw bytes).

        Raises:
            RefusedError: an array of objects, or a shape that the bytes do not fill.
        """
        _, shape, dtype, fortran, raw = state if len(state) == 5 else (0, *state)
        if isinstance(raw, list) or not isinstance(raw, str | bytes | Window):
            raise RefusedError("a NumPy array of Python objects")
        self.shape, self.dtype, self.fortran, self.raw = _shape(shape), _expect(dtype, DtypeRecord), bool(fortran), raw

    def read(self, budget: Budget) -> np.ndarray:
        """Return the array, native byte order, C-contiguous, read-only."""
        if self.shape is None or self.dtype is None:
            raise RefusedError("a NumPy array without content")
        count, dtype = _product(self.shape), self.dtype.dtype
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        nbytes = raw.remaining if isinstance(raw, Window) else len(raw)
        if nbytes != count * dtype.itemsize:
            raise RefusedError(f"a NumPy array of shape {self.shape} and {nbytes} bytes")
        budget.charge(2 * nbytes)
        flat = raw.copy().array(dtype, count, budget) if isinstance(raw, Window) else np.frombuffer(raw, dtype)
        array = flat.reshape(self.shape, order="F" if self.fortran else "C")
        array = np.require(array, dtype.newbyteorder("="), ["C", "A"])
        array.flags.writeable = False
        return array


def _shape(shape: Any) -> tuple[int, ...]:
    """Return `shape` if it is a tuple of at most 8 sizes."""
    if type(shape) not in (tuple, list) or len(shape) > 8:
        raise RefusedError("an array shape that is not a short tuple")
    if not all(type(s) is int and 0 <= s < 1 << 40 for s in shape):
        raise RefusedError("an array shape with a size that is no count")
    return tuple(shape)


def _product(shape: tuple[int, ...]) -> int:
    out = 1
    for size in shape:
        out *= size
    return out


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise RefusedError(f"a {type(value).__name__} where a {getattr(kind, '__name__', kind)} belongs")
    return value


class OfficialWorld:
    """Answers the machine for the files of the StyleGAN family.

    Args:
        budget: charged with everything that is read.
    """

    def __init__(self, budget: Budget):
        """Start without any known name."""
        self.budget = budget
        self.names: dict[str, Global] = {}

    def find_class(self, module: str, name: str) -> Global:
        """Return the stand-in of an allowed name.

        Raises:
            RefusedError: the name is not on the list.
        """
        qualified = f"{module}.{name}"
        recorded = qualified in RECORDED_NAMES or f"{module}.".startswith(RECORDED_MODULES)
        if "." in name or len(qualified) > 512 or not (recorded or qualified in CALLS):
            raise RefusedError(f"it asks for {qualified[:200]!r}, which no official network file needs; it was not run")
        return self.names.setdefault(qualified, Global(module, name))

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: only tensor streams inside a file have persistent ids."""
        raise RefusedError("a persistent id outside a tensor")

    def reduce(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return what stands for `function(*args)`."""
        name = _expect(function, Global).qualified
        handler = CALLS.get(name)
        return handler(self, *args) if handler else Record(name, args)

    def new(self, cls: Any, args: Any, kwargs: Any) -> Any:
        """Return what stands for `cls.__new__(cls, *args, **kwargs)`."""
        name = _expect(cls, Global).qualified
        if name in _DICTS:
            return {}
        if name in CALLS and name not in _SETS:
            raise RefusedError(f"an instance of {name}, which is a function")
        return Record(name, tuple(_expect(args, tuple)))

    def build(self, obj: Any, state: Any) -> Any:
        """Record `state` on `obj`."""
        if isinstance(obj, ArrayRecord):
            obj.fill(_expect(state, tuple))
        elif isinstance(obj, DtypeRecord):
            obj.order = ">" if _expect(state, tuple)[1] == ">" else "<"
        elif isinstance(obj, Record):
            obj.state = state
        elif type(obj) is not dict:  # the instance attributes of an EasyDict or OrderedDict say nothing
            raise RefusedError(f"sets the state of a {type(obj).__name__}")
        return obj


def _persistent(world: OfficialWorld, meta: Any) -> Record:
    """torch_utils.persistence: keep class name and state, drop the source text."""
    meta = _expect(meta, dict)
    if meta.get("type") != "class":
        raise RefusedError("a persistent object that is not a class instance")
    version, state = _expect(meta.get("version"), int), _expect(meta.get("state"), dict)
    return Record(_expect(meta.get("class_name"), str), state=state, version=version)


def _ordered_dict(world: OfficialWorld, pairs: Any = ()) -> dict[Any, Any]:
    if type(pairs) is dict:
        return dict(pairs)
    return {check_key(k): v for k, v in (tuple(pair) for pair in _expect(pairs, list | tuple))}


def _set(world: OfficialWorld, items: Any = ()) -> set[Any]:
    return {check_key(item) for item in _expect(items, list | tuple | set)}


def _codecs_encode(world: OfficialWorld, text: Any, encoding: Any = "latin1") -> bytes:
    """The way protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"the text encoding {show(encoding)}")
    world.budget.charge(len(_expect(text, str)))
    return text.encode("latin1")


def _load_from_bytes(world: OfficialWorld, data: Any) -> StorageRecord:
    window = data.copy() if isinstance(data, Window) else Window.of_bytes(_expect(data, bytes))
    return load_storage(window, world.budget)


def _rebuild_tensor(
    world: OfficialWorld, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> TensorRecord:
    return tensor_record(_expect(storage, StorageRecord), offset, _shape(size), _shape(stride))


def _rebuild_parameter(world: OfficialWorld, data: Any, *rest: Any) -> TensorRecord:
    return _expect(data, TensorRecord)


def _numpy_dtype(world: OfficialWorld, code: Any, *rest: Any) -> DtypeRecord:
    """Only numbers: 'O' arrays hold pickles of their own."""
    if isinstance(code, str) and (code in ("?", "bool") or _NUMPY_DTYPE.fullmatch(code)):
        return DtypeRecord("b1" if code in ("?", "bool") else code)
    raise RefusedError(f"the NumPy dtype {show(code)}")


def _numpy_reconstruct(world: OfficialWorld, cls: Any, *rest: Any) -> ArrayRecord:
    if _expect(cls, Global).qualified != "numpy.ndarray":
        raise RefusedError("a NumPy array of a special class")
    return ArrayRecord()


def _numpy_scalar(world: OfficialWorld, dtype: Any, raw: Any) -> ArrayRecord:
    return ArrayRecord((), _expect(dtype, DtypeRecord), False, _expect(raw, str | bytes))


def _numpy_frombuffer(world: OfficialWorld, raw: Any, dtype: Any, shape: Any, order: Any) -> ArrayRecord:
    return ArrayRecord(_shape(shape), _expect(dtype, DtypeRecord), order == "F", _expect(raw, bytes | Window))


def _size(world: OfficialWorld, items: Any = ()) -> tuple[Any, ...]:
    return tuple(_expect(items, list | tuple))


def _device(world: OfficialWorld, *args: Any) -> str:
    return ":".join(str(a) for a in args if isinstance(a, str | int))[:100]


def _bound_method(world: OfficialWorld, owner: Any, name: Any) -> Record:
    """`getattr(module, name)`, how a method stored on a module is pickled; the name is written down, not looked up."""
    return Record("method", (_expect(owner, Record).cls, _expect(name, str)))


def _old_instance(world: OfficialWorld, cls: Any, base: Any = None, state: Any = None) -> Any:
    """`copyreg._reconstructor`, how protocols 0 and 1 write instances."""
    made = world.new(cls, (), {})
    return _ordered_dict(world, state) if made == {} and type(state) is dict else made


CALLS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _codecs_encode,
    "copyreg._reconstructor": _old_instance,
    "copy_reg._reconstructor": _old_instance,
    "numpy.dtype": _numpy_dtype,
    **{f"{name}.multiarray._reconstruct": _numpy_reconstruct for name in ("numpy.core", "numpy._core")},
    **{f"{name}.multiarray.scalar": _numpy_scalar for name in ("numpy.core", "numpy._core")},
    **{f"{name}.numeric._frombuffer": _numpy_frombuffer for name in ("numpy.core", "numpy._core")},
    **dict.fromkeys(_DICTS, _ordered_dict),
    **dict.fromkeys(_SETS, _set),
    "builtins.getattr": _bound_method,
}
