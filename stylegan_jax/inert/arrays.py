"""Stand-ins for names and NumPy arrays in a pickle: they are recorded, and read as bytes when needed."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from stylegan_jax.inert.stream import Budget, RefusedError, Window, show

_NUMPY_DTYPE = re.compile(r"(b1|[iu][1248]|f[248])")


class HasBudget(Protocol):
    """The part of a `World` that the handlers below need."""

    budget: Budget


class Global:
    """A name in a file: `qualified` is `module.name`."""

    is_stand_in = True

    def __init__(self, module: str, name: str, is_known: bool = True):
        """Store the name, and whether official files use it."""
        self.qualified, self.is_known = f"{module}.{name}", is_known


@dataclasses.dataclass(eq=False)
class DtypeRecord:
    """A NumPy dtype: `code`, such as 'f4', and byte `order`, '<' or '>'."""

    code: Any
    order: str = "<"

    @property
    def dtype(self) -> np.dtype:
        """The dtype, if it is numeric; arrays of objects contain pickles, and raise RefusedError."""
        code = "b1" if self.code in ("?", "bool") else self.code
        if not isinstance(code, str) or not _NUMPY_DTYPE.fullmatch(code):
            raise RefusedError(f"the NumPy dtype {show(self.code)}")
        return np.dtype(self.order + code)


@dataclasses.dataclass(eq=False)
class ArrayRecord:
    """A NumPy array that is still in the file; `shape` is None before BUILD, and `fault` says why it cannot be read."""

    shape: tuple[int, ...] | None = None
    dtype: DtypeRecord | None = None
    fortran: bool = False
    raw: Any = b""
    fault: str = ""

    def fill(self, state: Any) -> None:
        """Store the state that NumPy pickles: (version, shape, dtype, is_fortran, raw bytes).

        Raises:
            RefusedError: the state is of another kind.
        """
        if self.fault:
            return
        _, shape, dtype, fortran, raw = state if len(state) == 5 else (0, *state[:5])
        self.shape, self.dtype, self.fortran, self.raw = (
            array_shape(shape),
            expect(dtype, DtypeRecord),
            bool(fortran),
            raw,
        )

    def read(self, budget: Budget) -> np.ndarray:
        """Return the array: native byte order, C-contiguous, read-only."""
        if self.fault or self.shape is None or self.dtype is None:
            raise RefusedError(self.fault or "a NumPy array without content")
        if not isinstance(self.raw, str | bytes | Window):
            raise RefusedError("a NumPy array of Python objects")
        count, dtype = math.prod(self.shape), self.dtype.dtype
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


def array_shape(shape: Any) -> tuple[int, ...]:
    """Return `shape` if it is a tuple of at most 8 sizes."""
    if type(shape) not in (tuple, list) or len(shape) > 8:
        raise RefusedError("an array shape that is not a short tuple")
    if not all(type(s) is int and 0 <= s < 1 << 40 for s in shape):
        raise RefusedError("an array shape with a size that is not a count")
    return tuple(shape)


def expect(value: Any, kind: Any) -> Any:
    """Return `value` if it has the type `kind`; if not, raise RefusedError."""
    if not isinstance(value, kind):
        raise RefusedError(f"a {type(value).__name__} where a {getattr(kind, '__name__', kind)} belongs")
    return value


def _codecs_encode(world: HasBudget, text: Any, encoding: Any = "latin1") -> bytes:
    """Decode bytes as protocol 2 writes them."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"the text encoding {show(encoding)}")
    world.budget.charge(len(expect(text, str)))
    return text.encode("latin1")


def _numpy_dtype(world: HasBudget, code: Any, *rest: Any) -> DtypeRecord:
    """Record the dtype; whether it can be read is checked when an array is read."""
    return DtypeRecord(code)


def _numpy_reconstruct(world: HasBudget, cls: Any, *rest: Any) -> ArrayRecord:
    is_plain = expect(cls, Global).qualified == "numpy.ndarray"
    return ArrayRecord(fault="" if is_plain else "a NumPy array of a special class")


def _numpy_scalar(world: HasBudget, dtype: Any, raw: Any) -> ArrayRecord:
    return ArrayRecord((), expect(dtype, DtypeRecord), False, raw)


def _numpy_frombuffer(world: HasBudget, raw: Any, dtype: Any, shape: Any, order: Any) -> ArrayRecord:
    return ArrayRecord(array_shape(shape), expect(dtype, DtypeRecord), order == "F", expect(raw, bytes | Window))


ARRAY_CALLS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _codecs_encode,
    "numpy.dtype": _numpy_dtype,
    **{f"{name}.multiarray._reconstruct": _numpy_reconstruct for name in ("numpy.core", "numpy._core")},
    **{f"{name}.multiarray.scalar": _numpy_scalar for name in ("numpy.core", "numpy._core")},
    **{f"{name}.numeric._frombuffer": _numpy_frombuffer for name in ("numpy.core", "numpy._core")},
}
"""Qualified name -> handler(world, *arguments), for the functions that pickled NumPy arrays call."""
