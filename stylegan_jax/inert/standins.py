"""Stand-ins for every name that an official pickle may mention, and the allow-list of those names.

Nothing here imports, looks up or calls what a file asks for: a name becomes a `Global`, an instance a `Record`, a
tensor a `TensorRecord` that still has to be read. Names off the list are refused at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stylegan_jax.inert.arrays import ARRAY_CALLS, Global, array_shape, expect
from stylegan_jax.inert.machine import check_key
from stylegan_jax.inert.plain import PlainWorld
from stylegan_jax.inert.stream import Budget, RefusedError, Window
from stylegan_jax.inert.tensors import StorageRecord, TensorRecord, load_storage, tensor_record

_DICTS = ("collections.OrderedDict", "dnnlib.util.EasyDict", "dnnlib.EasyDict", "builtins.dict", "__builtin__.dict")
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
_SCALAR_TYPES = ("object", "list", "tuple", "int", "float", "bool", "str", "bytes", "bytearray", "complex", "slice")

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


class OfficialWorld(PlainWorld):
    """Answers the machine for the files of the StyleGAN family.

    Args:
        budget: charged with everything that is read.
    """

    def __init__(self, budget: Budget):
        """Start without any known name."""
        super().__init__(budget)
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
        name = expect(function, Global).qualified
        handler = CALLS.get(name)
        return handler(self, *args) if handler else Record(name, args)

    def new(self, cls: Any, args: Any, kwargs: Any) -> Any:
        """Return what stands for `cls.__new__(cls, *args, **kwargs)`."""
        name = expect(cls, Global).qualified
        if name in _DICTS:
            return {}
        if name in CALLS and name not in _SETS:
            raise RefusedError(f"an instance of {name}, which is a function")
        return Record(name, tuple(expect(args, tuple)))

    def build(self, obj: Any, state: Any) -> Any:
        """Record `state` on `obj`."""
        if isinstance(obj, Record):
            obj.state = state
            return obj
        # The instance attributes of an EasyDict or OrderedDict say nothing.
        return obj if type(obj) is dict else super().build(obj, state)


def _persistent(world: OfficialWorld, meta: Any) -> Record:
    """torch_utils.persistence: keep class name and state, drop the source text."""
    meta = expect(meta, dict)
    if meta.get("type") != "class":
        raise RefusedError("a persistent object that is not a class instance")
    version, state = expect(meta.get("version"), int), expect(meta.get("state"), dict)
    return Record(expect(meta.get("class_name"), str), state=state, version=version)


def _ordered_dict(world: OfficialWorld, pairs: Any = ()) -> dict[Any, Any]:
    if type(pairs) is dict:
        return dict(pairs)
    return {check_key(k): v for k, v in (tuple(pair) for pair in expect(pairs, list | tuple))}


def _set(world: OfficialWorld, items: Any = ()) -> set[Any]:
    return {check_key(item) for item in expect(items, list | tuple | set)}


def _load_from_bytes(world: OfficialWorld, data: Any) -> StorageRecord:
    window = data.copy() if isinstance(data, Window) else Window.of_bytes(expect(data, bytes))
    return load_storage(window, world.budget)


def _rebuild_tensor(
    world: OfficialWorld, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> TensorRecord:
    return tensor_record(expect(storage, StorageRecord), offset, array_shape(size), array_shape(stride))


def _rebuild_parameter(world: OfficialWorld, data: Any, *rest: Any) -> TensorRecord:
    return expect(data, TensorRecord)


def _size(world: OfficialWorld, items: Any = ()) -> tuple[Any, ...]:
    return tuple(expect(items, list | tuple))


def _device(world: OfficialWorld, *args: Any) -> str:
    return ":".join(str(a) for a in args if isinstance(a, str | int))[:100]


def _bound_method(world: OfficialWorld, owner: Any, name: Any) -> Record:
    """`getattr(module, name)`, how a method stored on a module is pickled; the name is written down, not looked up."""
    return Record("method", (expect(owner, Record).cls, expect(name, str)))


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
    "copyreg._reconstructor": _old_instance,
    "copy_reg._reconstructor": _old_instance,
    **ARRAY_CALLS,
    **dict.fromkeys(_DICTS, _ordered_dict),
    **dict.fromkeys(_SETS, _set),
    "builtins.getattr": _bound_method,
}
