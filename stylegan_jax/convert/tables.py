"""Official arrays and ours: one table per network, used in both directions.

The arrays of a network and their shapes follow from its abstract tree (`jax.eval_shape` of its init). An architecture
adds the names of its official files (`Names`); the layout of an array there follows from its name and rank. Our layouts
are dense [in, out], convolution HWIO without any flip, constant [4, 4, c], and features flattened as h·w·c.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base.trees import flatten, put
from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.errors import BadCheckpointError

Path = tuple[str, ...]
"""Keys from the root of a network's tree, such as ('params', 'synthesis', 'b8', 'conv0', 'weight')."""


class Layout(NamedTuple):
    """How an official array is converted to ours and back; `shape` maps our shape to the official one."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_official: Callable[[np.ndarray], np.ndarray]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]


def _transposed(*axes: int) -> Layout:
    """Return the layout whose axis `axes[i]` is our axis i."""
    back = tuple(map(axes.index, range(len(axes))))
    return Layout(lambda x: x.transpose(axes), lambda x: x.transpose(back), lambda s: tuple(s[i] for i in back))


def _flat_to_ours(x: np.ndarray, h: int = 4, w: int = 4) -> np.ndarray:
    out, features = x.shape
    return x.reshape(out, features // (h * w), h, w).transpose(2, 3, 1, 0).reshape(features, out)


def _flat_to_official(x: np.ndarray, h: int = 4, w: int = 4) -> np.ndarray:
    features, out = x.shape
    return x.reshape(h, w, features // (h * w), out).transpose(3, 2, 0, 1).reshape(out, features)


def flat(h: int, w: int) -> Layout:
    """Return the layout of a dense layer that reads feature maps [h, w] in a PyTorch file."""
    to = lambda change: lambda x: change(x, h, w)
    return Layout(to(_flat_to_ours), to(_flat_to_official), lambda s: s[::-1])


LAYOUTS = {
    "same": Layout(lambda x: x, lambda x: x, lambda s: s),
    "dense": _transposed(1, 0),
    "conv": _transposed(2, 3, 1, 0),
    "const": _transposed(1, 2, 0),
    "depthwise": Layout(
        lambda x: x[:, 0].transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1)[:, None], lambda s: (s[2], 1, *s[:2])
    ),
    "tf_const": Layout(
        lambda x: x[0].transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1)[None], lambda s: (1, s[2], *s[:2])
    ),
    "tf_map": Layout(lambda x: x[0, 0], lambda x: x[None, None], lambda s: (1, 1, *s)),
    "tf_flat": Layout(lambda x: _flat_to_ours(x.T), lambda x: _flat_to_official(x).T, lambda s: s),
    "tf_unflat": Layout(lambda x: _flat_to_ours(x).T, lambda x: _flat_to_official(x.T), lambda s: s),
}
TORCH = {("weight", 2): "dense", ("weight", 4): "conv", ("const", 3): "const"}
"""(last key, rank) -> layout in PyTorch files; 'same' if not listed."""
TENSORFLOW = {("const", 3): "tf_const", ("noise_const", 2): "tf_map"}
"""The same in TensorFlow files."""


class Slot(NamedTuple):
    """An official array that is also ours: its path in our tree, its shape and dtype there, and its layout."""

    where: Path
    leaf: Any
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """The official shape."""
        return self.layout.shape(tuple(self.leaf.shape))

    @property
    def dtype(self) -> np.dtype:
        """Dtype of both arrays: float32, or an integer type."""
        return np.dtype(self.leaf.dtype if self.leaf.dtype.kind in "iub" else np.float32)


class Fixed(NamedTuple):
    """An official array that follows from the configuration; `described` completes 'it is not …' in errors.

    With `is_free`, a file may have any value.
    """

    value: np.ndarray
    described: str
    is_free: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype


Table = dict[str, Slot | Fixed]
"""Official name -> its description."""


class Names(NamedTuple):
    """An architecture's description of the official file of one network.

    Attributes:
        official: path in our tree -> official name.
        layouts: `TORCH` or `TENSORFLOW`.
        exceptions: path in our tree -> layout, if (last key, rank) does not determine it.
        fixed: official name -> array that only official files have; compared on import, computed on export.
    """

    official: Callable[[Path], str]
    layouts: Mapping[tuple[str, int], str] = TORCH
    exceptions: Mapping[Path, Layout] = MappingProxyType({})
    fixed: Mapping[str, Fixed] = MappingProxyType({})


def abstract(gan: Any, net: str, frozen: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the tree of a network with shapes instead of values.

    Args:
        gan: `models.Gan`.
        net: 'g', 'g_ema' or 'd'.
        frozen: trees of the pretrained networks of `gan.spec.frozen` on which the arrays depend; shapes suffice.

    Returns:
        Nested dicts of all collections, for a generator also 'w_avg'; leaves have a shape and a dtype.

    Raises:
        BadCheckpointError: a frozen network that they depend on is missing.
    """
    import jax  # imported late: damaged or hostile files raise errors without it

    from stylegan_jax.base import backend

    init = gan.init_d if net == "d" else gan.init_g
    try:
        with backend.tracing_for("tpu"):  # any platform will do, and asking JAX for the real one would claim the device
            tree = dict(jax.eval_shape(lambda trees: init(jax.random.key(0), trees), dict(frozen)))
    except KeyError as error:
        if error.args[0] not in gan.spec.frozen:
            raise
        missing = ", ".join(name for name in gan.spec.frozen if name not in frozen)
        text = f"its arrays depend on the frozen networks {missing}; pass their trees as `frozen`"
        raise BadCheckpointError("", text) from None
    return tree if net == "d" else tree | {"w_avg": jax.ShapeDtypeStruct(gan.spec.w_avg, np.float32)}


def network_tree(model: ModelConfig, net: str) -> Mapping[str, Any]:
    """Return the `abstract` tree of a configuration's network, which is cached: do not change it."""
    return _network_tree(model, "d" if net == "d" else "g")


@functools.lru_cache(maxsize=16)
def _network_tree(model: ModelConfig, net: str) -> Mapping[str, Any]:
    from stylegan_jax import models

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about numbers that no honest file has
            return abstract(models.build(model), net)
    except (ArithmeticError, AssertionError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadCheckpointError("", f"no network can be built from its arguments ({reason})") from None


def make_table(tree: Mapping[str, Any], names: Names, *, with_fixed: bool = True) -> Table:
    """Return the table of a network.

    Args:
        tree: its abstract tree.
        names: the leaves' names in its official file.
        with_fixed: also list the arrays that follow from the configuration.

    Raises:
        ValueError: two arrays have the same name, which is a mistake in `names`.
    """
    table: Table = dict(names.fixed) if with_fixed else {}
    for path, leaf in paths_of(tree).items():
        name = names.official(path)
        if name in table:
            entry = table[name]
            other = "/".join(entry.where) if isinstance(entry, Slot) else "an array that only official files hold"
            raise ValueError(f"{other} and {'/'.join(path)} both have the official name {name!r}; rename one of them")
        layout = names.exceptions.get(path) or LAYOUTS[names.layouts.get((path[-1], len(leaf.shape)), "same")]
        table[name] = Slot(path, leaf, layout)
    return {name: table[name] for name in sorted(table, key=_natural)}


def paths_of(tree: Mapping[str, Any]) -> dict[Path, Any]:
    """Return the leaves of a tree by their paths."""
    return {tuple(name.split("/")): leaf for name, leaf in flatten(tree).items()}


def check_net(tensors: Mapping[str, np.ndarray], table: Table) -> None:
    """Check that official arrays are those of a table.

    Raises:
        BadCheckpointError: a name is missing or unexpected, a shape or a type is wrong, a number is not finite, or a
            filter differs from the arguments.
    """
    _check_names(set(tensors), set(table))
    _check_shapes({name: tensors[name].shape for name in table}, {name: entry.shape for name, entry in table.items()})
    check_values({name: tensors[name] for name in table}, {name: entry.dtype for name, entry in table.items()})
    for name, entry in table.items():
        if isinstance(entry, Fixed):
            _check_fixed(name, np.asarray(tensors[name], np.float32), entry)


def import_net(tensors: dict[str, np.ndarray], table: Table) -> dict[str, Any]:
    """Rearrange official arrays into our tree.

    Args:
        tensors: official name -> array; emptied on the way, to save memory.
        table: see `make_table`.

    Returns:
        {'params': …, further collections[, 'w_avg': float32[w]]}, float32 (counters: integers), C-contiguous, owning
        their memory.

    Raises:
        BadCheckpointError: as `check_net`.
    """
    check_net(tensors, table)
    tree: dict[str, Any] = {}
    for name, entry in table.items():
        value = tensors.pop(name)
        if isinstance(entry, Slot):
            value = entry.layout.to_ours(np.asarray(value, entry.dtype))
            put(tree, entry.where, np.array(value, entry.dtype, order="C"))
    return tree


def export_net(tree: Mapping[str, Any], table: Table) -> dict[str, np.ndarray]:
    """Rearrange our tree into official arrays; the inverse of `import_net`.

    Args:
        tree: {'params': …, further collections[, 'w_avg': …]}.
        table: see `make_table`.

    Returns:
        Official name -> array, float32 (counters: integers), C-contiguous; includes fixed arrays if the table lists
        them.

    Raises:
        BadCheckpointError: a name is missing or unexpected, or a shape is wrong.
    """
    flat = flatten(tree)
    _check_leaves(flat, {"/".join(e.where): e.leaf for e in table.values() if isinstance(e, Slot)})
    out = {}
    for name, entry in table.items():
        if isinstance(entry, Fixed):
            value = entry.value
        else:
            value = entry.layout.to_official(np.asarray(flat["/".join(entry.where)], entry.dtype))
        out[name] = np.array(value, order="C")
    return out


def check_tree(tree: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that `tree` has exactly the arrays of an abstract tree, with finite numbers of the same kind.

    Raises:
        BadCheckpointError: it does not; the message lists arrays that are missing, unexpected, of the wrong shape or
            type, or not finite.
    """
    have, want = flatten(tree), flatten(expected)
    _check_leaves(have, want)
    check_values({name: np.asarray(have[name]) for name in want}, {name: x.dtype for name, x in want.items()})


def check_values(arrays: Mapping[str, np.ndarray], dtypes: Mapping[str, Any]) -> None:
    """Check that arrays are floating-point where the network's are, and finite; their precision may differ.

    Raises:
        BadCheckpointError: some are not; the message names them.
    """
    is_float = {name: np.issubdtype(np.dtype(dtypes[name]), np.floating) for name in arrays}
    wrong = [f"{k} has the type {x.dtype}" for k, x in arrays.items() if (x.dtype.kind == "f") != is_float[k]]
    if wrong:
        raise BadCheckpointError("", f"weights must be floating numbers, and counters integers: {_listing(wrong)}")
    with np.errstate(over="ignore"):
        bad = [k for k, x in arrays.items() if is_float[k] and not np.isfinite(np.asarray(x, np.float32)).all()]
    if bad:
        raise BadCheckpointError(
            "", f"NaN or infinity in {_listing(bad)}: nothing can be drawn; use an earlier snapshot of its training"
        )


def _check_leaves(have: Mapping[str, Any], want: Mapping[str, Any]) -> None:
    _check_names(set(have), set(want))
    names = sorted(want, key=_natural)
    _check_shapes({name: np.shape(have[name]) for name in names}, {name: want[name].shape for name in names})


def _natural(name: str) -> list[int | str]:
    """Return a key that sorts b4 before b16."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _listing(items: list[str]) -> str:
    return ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")


def _check_names(have: set[str], want: set[str]) -> None:
    problems = []
    if want - have:
        problems.append(f"missing: {_listing(sorted(want - have))}")
    if have - want:
        problems.append(f"not part of this network: {_listing(sorted(have - want))}")
    if problems:
        raise BadCheckpointError("", "; ".join(problems))


def _check_shapes(have: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [f"{k} is {list(have[k])}, expected {list(want[k])}" for k in want if tuple(have[k]) != tuple(want[k])]
    if wrong:
        raise BadCheckpointError("", f"shapes do not fit the arguments: {_listing(wrong)}")


def _check_fixed(name: str, value: np.ndarray, fixed: Fixed) -> None:
    if not fixed.is_free and not np.allclose(value, fixed.value, rtol=1e-5, atol=1e-6):
        raise BadCheckpointError("", f"{name} is not {fixed.described}")
