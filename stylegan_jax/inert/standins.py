"""Stand-ins for every name that an official pickle may mention, and the allow-list of those names.

Nothing here imports, looks up or calls what a file asks for: a name becomes a `Global`, an instance a `Record`, and a
tensor a `TensorRecord`, which is read later. A call of a name that is not on the list also becomes a `Record`, marked
as
unknown: it may occur next to the networks, but nothing that reads a network accepts it as data. The same applies to
dill's encodings of functions, cells, classes and bound methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stylegan_jax.inert.arrays import ARRAY_CALLS, Global, array_shape, expect
from stylegan_jax.inert.machine import check_key
from stylegan_jax.inert.plain import PlainWorld
from stylegan_jax.inert.stream import Budget, RefusedError, Window, show
from stylegan_jax.inert.tensors import StorageRecord, TensorRecord, load_storage, tensor_record

_EASY_DICTS = tuple(f"{place}dnnlib.{name}" for place in ("", "src.") for name in ("EasyDict", "util.EasyDict"))
_DICTS = ("collections.OrderedDict", *_EASY_DICTS, "builtins.dict", "__builtin__.dict")
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
_SCALAR_TYPES = ("object", "list", "tuple", "int", "float", "bool", "str", "bytes", "bytearray", "complex", "slice")

# Modules whose classes hold data; any of their classes is recorded by name.
RECORDED_MODULES = (
    "R3GAN.",
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


STREAM_STEPS = 300
"""Steps that opening a nested stream counts as, besides its opcodes."""


class Record:
    """An instance or the result of a call, recorded instead of created.

    Attributes:
        cls: qualified name of its class, or of the called function.
        args: positional arguments.
        state: what BUILD set, usually the instance dict.
        version: `torch_utils.persistence` version of a persistent object; 0 for others.
        is_known: whether official files use this name.
    """

    is_stand_in = True
    drops_items = True  # items added to an instance of a subclass of list, dict or set are not kept

    def __init__(
        self, cls: str, args: tuple[Any, ...] = (), state: Any = None, version: int = 0, is_known: bool = True
    ):
        """Store the parts."""
        self.cls, self.args, self.state, self.version, self.is_known = cls, args, state, version, is_known

    @property
    def refusal(self) -> str:
        """The text of an error about an instance that is not data."""
        return f"it asks for {show(self.cls)}, which no official network file needs; nothing was executed"


class OfficialWorld(PlainWorld):
    """The `World` of files of the StyleGAN family.

    Args:
        budget: charged for everything that is read.
    """

    def __init__(self, budget: Budget):
        """Start with no known names."""
        super().__init__(budget)
        self.names: dict[str, Global] = {}

    def find_class(self, module: str, name: str) -> Global:
        """Return the stand-in for a name, which records whether official files use it.

        Raises:
            RefusedError: the name is too long.
        """
        qualified = f"{module}.{name}"
        if len(qualified) > 512:
            raise RefusedError(f"it asks for {show(qualified)}, a name that is too long; nothing was executed")
        is_known = qualified in RECORDED_NAMES or qualified in CALLS or f"{module}.".startswith(RECORDED_MODULES)
        return self.names.setdefault(qualified, Global(module, name, is_known and "." not in name))

    def persistent_load(self, pid: Any) -> Any:
        """Raise RefusedError: persistent ids occur only in tensor streams."""
        raise RefusedError("a persistent id outside a tensor")

    def reduce(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return a stand-in for `function(*args)`; the result of a call may itself be called, as dill writes it."""
        self.budget.step(len(args))
        if isinstance(function, Record):
            return Record(function.cls, args, is_known=False)
        name = expect(function, Global).qualified
        handler = CALLS.get(name) if function.is_known else None
        return handler(self, *args) if handler else Record(name, args, is_known=function.is_known)

    def new(self, cls: Any, args: Any, kwargs: Any) -> Any:
        """Return a stand-in for `cls.__new__(cls, *args, **kwargs)`; with dill, `cls` may be the result of a call."""
        if isinstance(cls, Record):
            return Record(cls.cls, tuple(expect(args, tuple)), is_known=False)
        name = expect(cls, Global).qualified
        if name in _DICTS:
            return {}
        if name in CALLS and name not in _SETS:
            raise RefusedError(f"an instance of {name}, which is a function")
        return Record(name, tuple(expect(args, tuple)), is_known=cls.is_known)

    def build(self, obj: Any, state: Any) -> Any:
        """Record `state` on `obj`."""
        if isinstance(obj, Record):
            obj.state = state
            return obj
        # Instance attributes of an EasyDict, an OrderedDict or a tensor have no meaning.
        return obj if type(obj) is dict or isinstance(obj, TensorRecord) else super().build(obj, state)


def _persistent(world: OfficialWorld, meta: Any) -> Record:
    """Record an object of torch_utils.persistence by class name and state, without its source text."""
    meta = expect(meta, dict)
    if meta.get("type") != "class":
        raise RefusedError("a persistent object that is not a class instance")
    version, state = expect(meta.get("version"), int), expect(meta.get("state"), dict)
    return Record(expect(meta.get("class_name"), str), state=state, version=version)


def _ordered_dict(world: OfficialWorld, pairs: Any = ()) -> dict[Any, Any]:
    world.budget.step(len(expect(pairs, dict | list | tuple)))
    if type(pairs) is dict:
        return dict(pairs)
    return {check_key(k, world.budget): v for k, v in map(_pair, pairs)}


def _pair(value: Any) -> tuple[Any, Any]:
    if type(value) not in (tuple, list) or len(value) != 2:
        raise RefusedError("a dict of what are not pairs")
    return value[0], value[1]


def _set(world: OfficialWorld, items: Any = ()) -> set[Any]:
    world.budget.step(len(expect(items, list | tuple | set | frozenset)))
    return {check_key(item, world.budget) for item in items}


def _load_from_bytes(world: OfficialWorld, data: Any) -> StorageRecord:
    window = data.copy() if isinstance(data, Window) else Window.of_bytes(expect(data, bytes))
    world.budget.step(STREAM_STEPS)
    return load_storage(window, world.budget)


def _rebuild_tensor(
    world: OfficialWorld, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> TensorRecord:
    return tensor_record(expect(storage, StorageRecord), offset, array_shape(size), array_shape(stride))


def _rebuild_parameter(world: OfficialWorld, data: Any, *rest: Any) -> TensorRecord:
    return expect(data, TensorRecord)


def _rebuild_from_type(world: OfficialWorld, function: Any, kind: Any, args: Any, *rest: Any) -> TensorRecord:
    """Rebuild a tensor of a subclass or with attributes, pickled as the function that made it and its arguments."""
    handler = CALLS.get(expect(function, Global).qualified)
    if handler is None or handler not in (_rebuild_tensor, _rebuild_parameter):
        raise RefusedError(f"a tensor made by {show(function.qualified)}")
    return handler(world, *expect(args, tuple)[:10])


def _size(world: OfficialWorld, items: Any = ()) -> tuple[Any, ...]:
    world.budget.step(len(expect(items, list | tuple)))
    return tuple(items)


def _device(world: OfficialWorld, *args: Any) -> str:
    return ":".join(str(a)[:40] if isinstance(a, int) else a[:40] for a in args[:2] if isinstance(a, str | int))


def _attribute(world: OfficialWorld, owner: Any, name: Any, *default: Any) -> Record:
    """Record `getattr(owner, name)`, as methods of modules and dill's functions are pickled, without looking it up."""
    of = owner.cls if isinstance(owner, Record) else expect(owner, Global).qualified
    return Record("method", (of, expect(name, str)), is_known=isinstance(owner, Record) and owner.is_known)


def _old_instance(world: OfficialWorld, cls: Any, base: Any = None, state: Any = None) -> Any:
    """Record an instance as protocols 0 and 1 write it, with `copyreg._reconstructor`."""
    made = world.new(cls, (), {})
    return _ordered_dict(world, state) if made == {} and type(state) is dict else made


CALLS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "src.torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "torch.Size": _size,
    "torch.device": _device,
    "copyreg._reconstructor": _old_instance,
    "copy_reg._reconstructor": _old_instance,
    **ARRAY_CALLS,
    **dict.fromkeys(_DICTS, _ordered_dict),
    **dict.fromkeys(_SETS, _set),
    "builtins.getattr": _attribute,
}
