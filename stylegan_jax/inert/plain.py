"""Pickles of containers, numbers, strings and NumPy arrays, as plain data."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from stylegan_jax.inert.arrays import ARRAY_CALLS, ArrayRecord, DtypeRecord, Global, expect
from stylegan_jax.inert.machine import Machine
from stylegan_jax.inert.stream import Budget, RefusedError, Window, show

DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""Errors that a damaged pickle can cause besides RefusedError."""

MAX_DEPTH = 40
_MAX_NODES = 1_000_000
ARRAY_NODES = 20
"""An array counts as this many nodes, because creating one takes about that much longer."""


class PlainWorld:
    """The `World` of pickles that need no classes except NumPy's arrays.

    Args:
        budget: charged for everything that is read.
    """

    def __init__(self, budget: Budget):
        self.budget = budget

    def find_class(self, module: str, name: str) -> Global:
        """Return the stand-in for an allowed name.

        Raises:
            RefusedError: the name is not on the list.
        """
        qualified = f"{module}.{name}"
        if qualified != "numpy.ndarray" and qualified not in ARRAY_CALLS:
            raise RefusedError(f"it asks for {show(qualified)}, which plain data does not need; nothing was executed")
        return Global(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Raise RefusedError: plain data has no persistent ids."""
        raise RefusedError("a persistent id")

    def reduce(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Return a stand-in for `function(*args)`."""
        name = expect(function, Global).qualified
        self.budget.step(len(args))
        if name not in ARRAY_CALLS:
            raise RefusedError(f"a call of {name}")
        return ARRAY_CALLS[name](self, *args)

    def new(self, cls: Any, args: Any, kwargs: Any) -> Any:
        """Raise RefusedError: plain data has no instances."""
        raise RefusedError("an instance of a class")

    def build(self, obj: Any, state: Any) -> Any:
        """Record the state of an array or dtype."""
        if isinstance(obj, ArrayRecord):
            obj.fill(expect(state, tuple))
        elif isinstance(obj, DtypeRecord):
            obj.order = ">" if expect(state, tuple)[1] == ">" else "<"
        else:
            raise RefusedError(f"sets the state of a {type(obj).__name__}")
        return obj


class Reader:
    """Turns the machine's result into plain data, within limits on depth, number and bytes.

    Args:
        budget: charged for the arrays.
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self.nodes = _MAX_NODES

    def plain(self, value: Any, depth: int = 0, *, shallow: bool = False) -> Any:
        """Return `value` as plain data; `shallow` leaves only the class name of instances."""
        self.spend(1)
        if depth > MAX_DEPTH:
            raise RefusedError("data nested too deeply or repeated too often")

        def inner(item: Any) -> Any:
            return self.plain(item, depth + 1, shallow=shallow)

        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if isinstance(value, dict):
            return {k if not hasattr(k, "is_stand_in") else str(inner(k)): inner(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(inner(v) for v in value)
        if isinstance(value, set | frozenset):
            return sorted((inner(v) for v in value), key=show)
        if isinstance(value, ArrayRecord):
            self.spend(ARRAY_NODES)
            array = value.read(self.budget)
            return array.item() if value.shape == () else array
        if isinstance(value, Global):
            return value.qualified
        if isinstance(value, DtypeRecord):
            return value.dtype.str
        if isinstance(value, Window):
            self.budget.charge(value.remaining)
            return value.copy().read(value.remaining)
        return self.record(value, inner, shallow)

    def spend(self, nodes: int) -> None:
        """Count visited nodes.

        Raises:
            RefusedError: there are more than any honest file has, as when one list occurs a million times.
        """
        self.nodes -= nodes
        if self.nodes < 0:
            raise RefusedError("data nested too deeply or repeated too often")

    def record(self, value: Any, inner: Callable[[Any], Any], shallow: bool) -> Any:
        """Return any other kind of record as plain data; this class knows none."""
        raise RefusedError(f"a {type(value).__name__} where plain data belongs")


def file_budget(size: int) -> Budget:
    """Return the bytes that reading a file of `size` bytes may allocate."""
    return Budget(8 * size + (64 << 20))


def load_plain(file: BinaryIO) -> Any:
    """Read a pickle of containers, numbers, strings and NumPy arrays; nothing in it is executed.

    Args:
        file: seekable; read from its start.

    Returns:
        Dicts, lists, tuples, scalars, strings (Python 2's decoded as latin-1), bytes and read-only arrays.

    Raises:
        RefusedError: the file is damaged, hostile, or contains anything else.
    """
    size = file.seek(0, os.SEEK_END)
    budget = file_budget(size)
    try:
        return Reader(budget).plain(Machine(Window(file, 0, size), PlainWorld(budget), budget).load())
    except DAMAGE as error:
        raise RefusedError(f"damaged, or not a pickle ({type(error).__name__}: {str(error)[:200]})") from None
