"""Read the .pkl files of the StyleGAN family as data: no code in them runs, no PyTorch or TensorFlow is needed.

Two layouts are known. PyTorch era: a dict of modules 'G', 'D', 'G_ema' plus extras. TensorFlow era: a tuple of three
`Network` states in the order G, D, G_ema. Official files also carry Python source; it is dropped unread.
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.inert.arrays import ArrayRecord
from stylegan_jax.inert.machine import Machine
from stylegan_jax.inert.plain import DAMAGE, MAX_DEPTH, Reader, file_budget
from stylegan_jax.inert.standins import OfficialWorld, Record
from stylegan_jax.inert.stream import Budget, RefusedError, Window, show
from stylegan_jax.inert.tensors import TensorRecord

MAX_FILE_BYTES = 16 << 30
NET_NAMES = ("G", "D", "G_ema")
TF_VERSIONS = (3, 4, 5)  # StyleGAN, StyleGAN2, StyleGAN2-ADA
_MAX_MODULES = 20_000

_DAMAGE = (*DAMAGE, zipfile.BadZipFile)


@dataclasses.dataclass
class OfficialNet:
    """One network of an official file.

    Attributes:
        class_name: class (PyTorch) or build function (TensorFlow) that made it.
        version: format version: 6 for PyTorch, 3 to 5 for TensorFlow.
        init_args: positional constructor arguments.
        init_kwargs: keyword constructor arguments (PyTorch) or static_kwargs (TensorFlow), as plain data.
        params: dotted name (PyTorch) or slashed variable name (TensorFlow) -> read-only C-contiguous array.
        buffers: the same for PyTorch buffers; frozen layers are here.
        attributes: module path ('' is the network itself) -> its public plain attributes.
    """

    class_name: str
    version: int
    init_args: tuple[Any, ...]
    init_kwargs: dict[str, Any]
    params: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Parameters and buffers together, a new dict."""
        return {**self.params, **self.buffers}


@dataclasses.dataclass
class OfficialPickle:
    """What an official file holds.

    Attributes:
        kind: 'torch' or 'tf'.
        nets: those of 'G', 'D', 'G_ema' that are present.
        extras: everything else as plain data; `augment_pipe` is an OfficialNet or None.
    """

    kind: str
    nets: dict[str, OfficialNet]
    extras: dict[str, Any]


def read_official_pickle(path: str | os.PathLike[str], nets: Sequence[str] = NET_NAMES) -> OfficialPickle:
    """Read a network pickle of the StyleGAN family without running anything in it.

    Args:
        path: the .pkl file.
        nets: which networks to read; those that the file lacks are left out.

    Returns:
        Plain data and NumPy arrays (dtypes as stored; bfloat16 as float32).

    Raises:
        BadCheckpointError: missing, damaged, hostile, or of another kind.
    """
    return _guarded(path, lambda top, reader: _official(top, reader, nets))


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """Read any pickle of containers, numbers, strings and arrays (statistics, feature networks) without running it.

    Args:
        path: the pickle.

    Returns:
        dicts, lists, tuples, scalars and arrays; instances become {'class', 'args', 'state'}.

    Raises:
        BadCheckpointError: missing, damaged or hostile.
    """
    return _guarded(path, lambda top, reader: reader.plain(top))


def _guarded(path: str | os.PathLike[str], work: Callable[[Any, _Reader], Any]) -> Any:
    """Open `path`, run its opcodes, hand the result to `work`, and turn every failure into BadCheckpointError."""
    try:
        with open(path, "rb") as file:
            return work(*_load(file))
    except RefusedError as error:
        raise BadCheckpointError(path, f"refused: {error}") from None
    except OSError as error:
        raise BadCheckpointError(path, f"cannot be read: {error.strerror or error}") from None
    except _DAMAGE as error:
        detail = f"{type(error).__name__}: {error}"[:300]
        raise BadCheckpointError(path, f"damaged, or not a pickle of a known kind ({detail})") from None


def _load(file: BinaryIO) -> tuple[Any, _Reader]:
    size = file.seek(0, os.SEEK_END)
    if size > MAX_FILE_BYTES:
        raise RefusedError(f"{size} bytes; the limit is {MAX_FILE_BYTES}")
    window = Window(file, 0, size)
    if window.copy().read(2) == b"PK":
        raise RefusedError("a zip archive, as torch.save writes it; official network files are plain pickles")
    budget = file_budget(size)
    return Machine(window, OfficialWorld(budget), budget).load(), _Reader(budget)


def _official(top: Any, reader: _Reader, nets: Sequence[str]) -> OfficialPickle:
    if type(top) in (tuple, list) and len(top) == 3 and all(_is_tf(net) for net in top):
        found = {name: reader.tf_net(net) for name, net in zip(NET_NAMES, top, strict=True) if name in nets}
        return OfficialPickle("tf", found, {})
    if type(top) is dict and any(isinstance(top.get(name), Record) for name in NET_NAMES):
        found = {n: reader.torch_net(top[n]) for n in NET_NAMES if n in nets and top.get(n) is not None}
        extras = {str(k): v for k, v in top.items() if k not in NET_NAMES}
        pipe = extras.pop("augment_pipe", None)
        extras = {k: reader.plain(v) for k, v in extras.items()}
        extras["augment_pipe"] = reader.torch_net(pipe) if pipe is not None else None
        return OfficialPickle("torch", found, extras)
    raise RefusedError("not a network file: neither a dict with G, D or G_ema nor three TensorFlow networks")


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
            return value.read(self.budget)
        if not isinstance(value, Record):
            return super().record(value, inner, shallow)
        return value.cls if shallow else {"class": value.cls, "args": inner(value.args), "state": inner(value.state)}

    def torch_net(self, record: Any) -> OfficialNet:
        """Return a module as an OfficialNet."""
        state = _dict(getattr(record, "state", None), "a network without a state")
        net = OfficialNet(
            class_name=record.cls,
            version=record.version,
            init_args=tuple(self.plain(state.get("_init_args", ()))),
            init_kwargs=dict(self.plain(state.get("_init_kwargs", {}))),
            params={},
            buffers={},
            attributes={},
        )
        for path, module in self._modules("", record, 0):
            prefix = f"{path}." if path else ""
            hidden = module.get("_non_persistent_buffers_set", ())
            for name, tensor in _dict(module.get("_parameters", {}), "parameters").items():
                if tensor is not None:
                    net.params[prefix + name] = self._tensor(prefix + name, tensor)
            for name, tensor in _dict(module.get("_buffers", {}), "buffers").items():
                if tensor is not None and name not in hidden:
                    net.buffers[prefix + name] = self._tensor(prefix + name, tensor)
            public = {k: v for k, v in module.items() if isinstance(k, str) and k[:1] != "_" and k != "training"}
            net.attributes[path] = {k: self.plain(v, shallow=True) for k, v in public.items()}
        return net

    def _modules(self, path: str, record: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
        self.modules -= 1
        if depth > MAX_DEPTH or self.modules < 0:
            raise RefusedError("modules nested too deeply or repeated too often")
        state = _dict(getattr(record, "state", None), f"module {path!r}")
        yield path, state
        for name, child in _dict(state.get("_modules", {}), f"submodules of {path!r}").items():
            if child is not None:
                yield from self._modules(f"{path}.{name}" if path else str(name), child, depth + 1)

    def _tensor(self, name: str, value: Any) -> np.ndarray:
        if not isinstance(value, TensorRecord):
            raise RefusedError(f"{name} is a {type(value).__name__}, not a tensor")
        return value.read(self.budget)

    def tf_net(self, record: Record) -> OfficialNet:
        """Return a TensorFlow-era network as an OfficialNet; its variables are all in `params`."""
        state = _dict(record.state, "a network without a state")
        version = state.get("version")
        if version not in TF_VERSIONS:
            raise RefusedError(f"a TensorFlow network of version {show(version)}; known are {TF_VERSIONS}")
        net = OfficialNet(
            class_name=_text(state.get("build_func_name", "")),
            version=version,
            init_args=(),
            init_kwargs=dict(self.plain(_dict(state.get("static_kwargs", {}), "static_kwargs"))),
            params={},
            buffers={},
            attributes={"": {"name": _text(state.get("name", ""))}},
        )
        for path, part in self._components("", state, 0):
            for item in _list(part.get("variables", []), f"variables of {path!r}"):
                name, value = item
                if not isinstance(value, ArrayRecord):
                    raise RefusedError(f"variable {show(name)} is not an array")
                net.params[path + _text(name)] = value.read(self.budget)
        return net

    def _components(self, path: str, state: dict[str, Any], depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
        self.modules -= 1
        if depth > MAX_DEPTH or self.modules < 0:
            raise RefusedError("networks nested too deeply or repeated too often")
        yield path, state
        for name, child in _dict(state.get("components", {}), f"components of {path!r}").items():
            if not _is_tf(child):
                raise RefusedError(f"component {show(name)} is not a network")
            yield from self._components(f"{path}{name}/", _dict(child.state, f"component {show(name)}"), depth + 1)


def _dict(value: Any, what: str) -> dict[Any, Any]:
    if type(value) is not dict:
        raise RefusedError(f"{what}: a {type(value).__name__} where a dict belongs")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise RefusedError(f"a {type(value).__name__} where a name belongs")
    return value


def _list(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    if type(value) not in (list, tuple):
        raise RefusedError(f"{what}: a {type(value).__name__} where a list belongs")
    return value
