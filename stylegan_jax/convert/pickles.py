"""Read the network files of the StyleGAN family as data: no code in them runs, and no PyTorch or TensorFlow is needed.

Official files are plain pickles. In the PyTorch era, they are a dict of modules 'G', 'D', 'G_ema' plus extras; in the
TensorFlow era, a tuple of three `Network` states in the order G, D, G_ema. They also contain Python source, which is
skipped. Other projects' files are read as well: a single network, state dicts ('g_ema', or a decoder below
'state_dict'), and all of these in either form of torch.save.
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NoReturn

import numpy as np

from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.published import advice
from stylegan_jax.inert import settings
from stylegan_jax.inert.arrays import ArrayRecord
from stylegan_jax.inert.ordinary import wrong_file
from stylegan_jax.inert.plain import ARRAY_NODES, DAMAGE, MAX_DEPTH, Reader, file_budget
from stylegan_jax.inert.standins import Record
from stylegan_jax.inert.stream import Budget, RefusedError, show
from stylegan_jax.inert.tensors import TensorRecord
from stylegan_jax.inert.weights import MAX_PATH, load_container

MAX_FILE_BYTES = 16 << 30
NET_NAMES = ("G", "D", "G_ema")
TF_VERSIONS = (3, 4, 5)  # StyleGAN, StyleGAN2, StyleGAN2-ADA
_ROLES: dict[Any, str] = dict.fromkeys(
    ("G_ema", "g_ema", "ema", "params_ema", "generator_ema", "netG_ema", "Gs"), "G_ema"
)
_ROLES |= dict.fromkeys(("G", "g", "generator", "netG"), "G")
"""Other code bases' names for a generator in a dict of networks or state dicts, or as a prefix of its arrays."""
_WRAPPERS = ("state_dict", "model", "checkpoint", "models", "networks")
"""Keys of dicts that contain others."""
_MAX_MODULES, _MAX_EXTRAS, _MAX_CLASS = 20_000, 1000, 200

_DAMAGE = (*DAMAGE, zipfile.BadZipFile)


@dataclasses.dataclass
class OfficialNet:
    """One network of an official file.

    Attributes:
        class_name: class (PyTorch) or build function (TensorFlow) that created it.
        version: format version: 6 for PyTorch, 3 to 5 for TensorFlow.
        init_args: positional constructor arguments.
        init_kwargs: keyword constructor arguments (PyTorch) or static_kwargs (TensorFlow), as plain data.
        params: dotted name (PyTorch) or slashed variable name (TensorFlow) -> read-only C-contiguous array.
        buffers: the same for PyTorch buffers; frozen layers are here.
        attributes: module path ('' is the network itself) -> its public plain attributes.
        has_filters: whether the arrays include those that follow from the arguments.
        is_renamed: whether names and arguments have been changed to the official ones.
    """

    class_name: str
    version: int
    init_args: tuple[Any, ...]
    init_kwargs: dict[str, Any]
    params: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]
    has_filters: bool = True
    is_renamed: bool = False

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Parameters and buffers together, a new dict."""
        return {**self.params, **self.buffers}


@dataclasses.dataclass
class OfficialPickle:
    """The content of an official file.

    Attributes:
        kind: 'torch' or 'tf' (networks with their arguments), or 'state' (arrays alone).
        nets: those of 'G', 'D', 'G_ema' that are present and were requested.
        extras: everything else as plain data; `augment_pipe` is an OfficialNet if it is a network.
        dropped: {name: why} for other content that is not plain data; sampling does not need it.
        note: how the file was interpreted, if that is not evident; otherwise ''.
    """

    kind: str
    nets: dict[str, OfficialNet]
    extras: dict[str, Any]
    dropped: dict[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""


def read_official_pickle(
    path: str | os.PathLike[str], nets: Sequence[str] = NET_NAMES, *, first: bool = False
) -> OfficialPickle:
    """Read a network file of the StyleGAN family without executing anything in it.

    Args:
        path: the file.
        nets: which networks to read; those that the file lacks are skipped.
        first: read only the first of `nets` that the file has.

    Returns:
        Plain data and NumPy arrays (dtypes as stored; bfloat16 as float32).

    Raises:
        BadCheckpointError: the file is missing, damaged, hostile, or of another kind.
    """
    return _guarded(path, lambda top, reader: _official(top, reader, nets, first))


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """Read any pickle of containers, numbers, strings and arrays (statistics, feature networks) without executing it.

    Args:
        path: the pickle.

    Returns:
        Dicts, lists, tuples, scalars and arrays; instances become {'class', 'args', 'state'}.

    Raises:
        BadCheckpointError: the file is missing, damaged or hostile.
    """
    return _guarded(path, lambda top, reader: reader.plain(top))


def _guarded(path: str | os.PathLike[str], work: Callable[[Any, _Reader], Any]) -> Any:
    """Read the pickle at `path`, pass the result to `work`, and turn every failure into BadCheckpointError."""
    try:
        with open(path, "rb") as file:
            try:
                return work(*_load(file))
            except (RefusedError, *_DAMAGE) as error:
                reason = wrong_file(file) or _reason(error)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        reason += advice(path) if isinstance(error, FileNotFoundError) else ""
    raise BadCheckpointError(path, reason)


def _reason(error: Exception) -> str:
    if isinstance(error, RefusedError):
        return f"refused: {error}"
    if isinstance(error, zipfile.BadZipFile):
        return f"damaged: {error}; perhaps the download was interrupted: download it again"
    if isinstance(error, EOFError):
        return f"is cut off ({error}); download it again"
    return f"damaged, or not a pickle of a known kind ({type(error).__name__}: {str(error)[:300]})"


def _load(file: BinaryIO) -> tuple[Any, _Reader]:
    size = file.seek(0, os.SEEK_END)
    if size > MAX_FILE_BYTES:
        raise RefusedError(f"{size} bytes; the limit is {MAX_FILE_BYTES}")
    budget = file_budget(size)
    return load_container(file, size, budget), _Reader(budget)


def _official(top: Any, reader: _Reader, nets: Sequence[str], first: bool) -> OfficialPickle:
    """Identify the layout of a file, and read the requested networks."""
    kind, found, note = _networks(top)
    chosen = [name for name in nets if found.get(name) is not None]
    read = {"torch": reader.torch_net, "tf": reader.tf_net, "state": reader.state_net}[kind]
    result = OfficialPickle(
        kind, {name: read(found[name]) for name in (chosen[:1] if first else chosen)}, {}, note=note
    )
    beside = top if type(top) is dict and any(name in top for name in found) else {}
    for key, value in list(beside.items())[:_MAX_EXTRAS]:
        if key not in found:
            reader.extra(str(key), value, result)
    return result


def _networks(top: Any) -> tuple[str, dict[str, Any], str]:
    """Return (kind, networks by name, note) of the machine's result.

    Raises:
        RefusedError: it contains no network.
    """
    if type(top) in (tuple, list) and len(top) == 3 and all(map(_is_net, top)):
        return ("tf" if _is_tf(top[0]) else "torch"), dict(zip(NET_NAMES, top, strict=True)), ""
    if type(top) in (tuple, list) and len(top) == 1:
        return _networks(top[0]) if isinstance(top[0], Record | dict) else _refuse(top)
    if isinstance(top, Record):
        if _is_tf(top):
            return "tf", {_role(_tf_names(top)): top}, "the file is one network"
        if _is_net(top):
            return "torch", {_role(top.state["_modules"]): top}, "the file is one network"
        return _refuse(top)
    if type(top) is not dict:
        return _refuse(top)
    modules = {name: top.get(name) for name in NET_NAMES if name in top}
    if any(isinstance(modules.get(name), Record) for name in ("G_ema", "G")):
        return ("tf" if any(map(_is_tf, modules.values())) else "torch"), modules, ""
    others = {key: net for key, net in top.items() if _is_net(net)}
    named = {_ROLES[key]: others[key] for key in reversed(_ROLES) if key in others}
    if named:
        named |= {"D": others["D"]} if "D" in others else {}
        return ("tf" if any(map(_is_tf, named.values())) else "torch"), named, ""
    return _networks(*others.values()) if len(others) == 1 else _states(top)


def _states(top: dict[Any, Any]) -> tuple[str, dict[str, Any], str]:
    """Return (kind, networks by name, note) of a dict of state dicts, or of one."""
    states = {key: _unwrapped(value) for key, value in top.items() if is_state(value)}
    found: dict[str, Any] = {}
    for key, role in _ROLES.items():
        if key in states:
            found.setdefault(role, (states[key], _mean(top)))
    wrapped = [top[key] for key in _WRAPPERS if type(top.get(key)) is dict and top[key]]
    if not found and not wrapped and len(states) == 1:
        found["G_ema"] = (*states.values(), _mean(top))
    if found:
        return (
            "state",
            found,
            "the file has arrays without their network's arguments, which are inferred from the shapes",
        )
    inner: dict[Any, Any] = wrapped[0] if wrapped else top
    for prefix in ("decoder", *_ROLES):
        part = {k.removeprefix(f"{prefix}."): v for k, v in inner.items() if str(k).startswith(f"{prefix}.")}
        if is_state(part):
            return "state", {_ROLES.get(prefix, "G_ema"): (part, _mean(top))}, f"the arrays below {prefix!r} are read"
    if is_state(inner):
        return "state", {"G_ema": (_unwrapped(inner), _mean(top))}, "the file contains the arrays of one network"
    return _networks(inner) if wrapped else _refuse(top)


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict without the prefix that PyTorch's training on several devices adds to all names."""
    is_wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module."): value for name, value in state.items()} if is_wrapped else state


def is_state(value: Any) -> bool:
    """Return whether a value is a dict of tensors, as `state_dict` returns it."""
    if type(value) is not dict or not value:
        return False
    return all(type(k) is str and isinstance(v, TensorRecord | ArrayRecord) for k, v in value.items())


def _mean(top: dict[Any, Any]) -> Any:
    mean = top.get("latent_avg")
    return mean if isinstance(mean, TensorRecord | ArrayRecord) else None


def _refuse(top: Any) -> NoReturn:
    if isinstance(top, Record) and not top.is_known:
        raise RefusedError(top.refusal)
    inside = f"; it is of the type {type(top).__name__}"
    if type(top) is dict:
        kinds = {key: value.cls if isinstance(value, Record) else type(value).__name__ for key, value in top.items()}
        inside = f"; it contains {listing(f'{key} ({kinds[key]})' for key in top)}" if top else "; it is empty"
    raise RefusedError(
        "not a network file: neither a dict with G, D or G_ema, nor TensorFlow networks, nor one network, nor the "
        f"state dict of one{inside}"
    )


def listing(names: Iterable[Any]) -> str:
    """Return some names from a file, shortened, for a message."""
    shown = sorted(name[:80] if isinstance(name, str) else show(name) for name in names)
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _role(parts: Any) -> str:
    """Return 'D' if a network's parts are those of a discriminator, or 'G_ema'."""
    names = {str(name).partition(".")[0] for name in parts} if type(parts) is dict else set()
    return "D" if "b4" in names or "4x4" in names else "G_ema"


def _tf_names(record: Record) -> dict[Any, Any]:
    state = record.state if type(record.state) is dict else {}
    rows: Any = state.get("variables") or ()
    names = [row[0] for row in rows if type(row) in (tuple, list) and row] if type(rows) in (tuple, list) else []
    return {name.partition("/")[0]: None for name in names if type(name) is str}


def _is_net(value: Any) -> bool:
    """Return whether a value is a network of TensorFlow, or a module of PyTorch."""
    is_module = isinstance(value, Record) and type(value.state) is dict and "_modules" in value.state
    return is_module or _is_tf(value)


def _is_tf(value: Any) -> bool:
    return isinstance(value, Record) and value.cls in ("dnnlib.tflib.network.Network", "tfutil.Network")


class _Reader(Reader):
    """Turns records into plain data and networks, within limits on depth, number and bytes."""

    def __init__(self, budget: Budget):
        super().__init__(budget)
        self.modules = _MAX_MODULES

    def record(self, value: Any, inner: Callable[[Any], Any], shallow: bool) -> Any:
        """Return a tensor or an instance as plain data."""
        if isinstance(value, TensorRecord):
            if shallow:  # features of the last batch, or weights that follow from others: large and never needed
                return "tensor"
            self.spend(ARRAY_NODES)
            return value.read(self.budget)
        if not isinstance(value, Record):
            return super().record(value, inner, shallow)
        if settings.is_node(value) and not shallow:
            self.spend(ARRAY_NODES)
            return inner(settings.held(value))
        if not value.is_known and not shallow:
            raise RefusedError(value.refusal)
        return value.cls if shallow else {"class": value.cls, "args": inner(value.args), "state": inner(value.state)}

    def extra(self, name: str, value: Any, result: OfficialPickle) -> None:
        """Add content other than the networks to the result's `extras`, or its name to `dropped`."""
        is_net = name == "augment_pipe" and isinstance(value, Record) and type(value.state) is dict
        try:
            result.extras[name] = self.torch_net(value) if is_net else self.plain(value)
        except RefusedError as error:
            result.dropped[name[:80]] = str(error)[:200]

    def state_net(self, found: tuple[dict[str, Any], Any]) -> OfficialNet:
        """Return an OfficialNet without arguments, from the arrays of a state dict and the mean style next to it."""
        tensors, mean = found
        arrays = {_name("", name): self._tensor(name, tensor) for name, tensor in tensors.items()}
        if mean is not None:
            arrays["latent_avg"] = self._tensor("latent_avg", mean)
        return OfficialNet("state dict", 0, (), {}, arrays, {}, {})

    def torch_net(self, record: Any) -> OfficialNet:
        """Return a module as an OfficialNet."""
        if isinstance(record, Record) and not record.is_known and type(record.state) is not dict:
            raise RefusedError(record.refusal)
        state = _dict(getattr(record, "state", None), "a network without a state")
        net = OfficialNet(
            class_name=_text(record.cls)[:_MAX_CLASS],
            version=record.version,
            init_args=tuple(self.plain(state.get("_init_args", ()))),
            init_kwargs=dict(self.plain(state.get("_init_kwargs", {}))),
            params={},
            buffers={},
            attributes={},
        )
        for path, module in self._modules("", record, 0):
            hidden = module.get("_non_persistent_buffers_set", set())
            hidden = hidden if type(hidden) in (set, frozenset) else set()
            for name, tensor in _dict(module.get("_parameters", {}), "parameters").items():
                if tensor is not None:
                    net.params[_name(path, name)] = self._tensor(name, tensor)
            for name, tensor in _dict(module.get("_buffers", {}), "buffers").items():
                if tensor is not None and name not in hidden:
                    net.buffers[_name(path, name)] = self._tensor(name, tensor)
            public = {k: v for k, v in module.items() if isinstance(k, str) and k[:1] != "_" and k != "training"}
            net.attributes[path] = {k: self.plain(v, shallow=True) for k, v in public.items()}
        return net

    def _modules(self, path: str, record: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
        self.modules -= 1
        if depth > MAX_DEPTH or self.modules < 0:
            raise RefusedError("modules nested too deeply or repeated too often")
        state = _dict(getattr(record, "state", None), f"module {path!r}")
        self.spend(sum(len(part) for part in (state, *state.values()) if type(part) is dict))
        yield path, state
        for name, child in _dict(state.get("_modules", {}), f"submodules of {path!r}").items():
            if child is not None:
                yield from self._modules(_name(path, name), child, depth + 1)

    def _tensor(self, name: Any, value: Any) -> np.ndarray:
        self.spend(ARRAY_NODES)
        if not isinstance(value, TensorRecord | ArrayRecord):
            what = value.cls if isinstance(value, Record) else type(value).__name__
            raise RefusedError(f"{show(name)} is a {show(what)}, not a tensor")
        return value.read(self.budget)

    def tf_net(self, record: Record) -> OfficialNet:
        """Return a TensorFlow-era network as an OfficialNet with all variables in `params`."""
        state = _dict(record.state, "a network without a state")
        version = state.get("version")
        if version not in TF_VERSIONS:
            raise RefusedError(f"a TensorFlow network of version {show(version)}; known are {TF_VERSIONS}")
        net = OfficialNet(
            class_name=_text(state.get("build_func_name", ""))[:_MAX_CLASS],
            version=version,
            init_args=(),
            init_kwargs=dict(self.plain(_dict(state.get("static_kwargs", {}), "static_kwargs"))),
            params={},
            buffers={},
            attributes={"": {"name": _text(state.get("name", ""))}},
            has_filters=False,
        )
        for path, part in self._components("", state, 0):
            for item in _list(part.get("variables", []), f"variables of {path!r}"):
                name, value = item
                net.params[_name(path.removesuffix("/"), name, "/")] = self._tensor(name, value)
        return net

    def _components(self, path: str, state: dict[str, Any], depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
        self.modules -= 1
        if depth > MAX_DEPTH or self.modules < 0:
            raise RefusedError("networks nested too deeply or repeated too often")
        yield path, state
        for name, child in _dict(state.get("components", {}), f"components of {path!r}").items():
            if not _is_tf(child):
                raise RefusedError(f"component {show(name)} is not a network")
            yield from self._components(
                f"{_name(path.removesuffix('/'), name, '/')}/", _dict(child.state, f"component {show(name)}"), depth + 1
            )


def _dict(value: Any, what: str) -> dict[Any, Any]:
    if type(value) is not dict:
        raise RefusedError(f"{what}: a {type(value).__name__} where a dict belongs")
    return value


def _name(path: str, name: Any, separator: str = ".") -> str:
    """Return the name of an array or a part below `path`."""
    if len(path) + len(_text(name)) > MAX_PATH:
        raise RefusedError(f"a name is longer than {MAX_PATH} characters")
    return f"{path}{separator}{name}" if path else name


def _text(value: Any) -> str:
    if type(value) is not str:
        raise RefusedError(f"a {type(value).__name__} where a name belongs")
    return value


def _list(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    if type(value) not in (list, tuple):
        raise RefusedError(f"{what}: a {type(value).__name__} where a list belongs")
    return value


def read_state_file(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file of torch.save that contains a state dict, and what is next to it.

    Args:
        path: the file.

    Returns:
        (tensors by name, plain data and tensors next to them by name). Anything else is skipped, except in 'opts', a
        dict or namespace of settings, where the names of classes stand for instances.

    Raises:
        BadCheckpointError: the file is missing, damaged, hostile, or without a state dict.
    """

    def work(top: Any, reader: _Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        state = top.get("state_dict") if type(top) is dict else None
        state = top if state is None else state
        if not is_state(state):
            return _refuse(top)
        tensors = {_name("", name): reader._tensor(name, value) for name, value in _unwrapped(state).items()}
        beside = OfficialPickle("state", {}, {})
        for key, value in list(top.items())[:_MAX_EXTRAS] if state is not top else ():
            if key == "opts":
                value = value.state if isinstance(value, Record) else value
                beside.extras["opts"] = reader.plain(value, shallow=True)
            elif key not in (
                "state_dict",
                "optimizer",
                "discriminator_state_dict",
                "discriminator_optimizer_state_dict",
            ):
                reader.extra(str(key), value, beside)
        return tensors, beside.extras

    return _guarded(path, work)
