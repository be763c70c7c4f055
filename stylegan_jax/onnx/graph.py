"""The graph that is being written, and its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stylegan_jax.base.errors import StyleganError

Dim = Any
"""An int, or a symbolic dimension of `jax.export`."""
Shape = tuple[Dim, ...]


class OnnxError(StyleganError, ValueError):
    """ONNX or this exporter cannot express a program; the message names the operation."""


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the program: a constant, or a tensor of the graph.

    Broadcasts are not written until something needs them, because element-wise operations of ONNX broadcast like NumPy.

    Attributes:
        shape: the shape in the program.
        held: shape of the tensor or constant: the same, except for 1 along axes whose broadcast is pending.
        dtype: dtype of its elements.
        name: name of the tensor; '' for a constant.
        data: the constant, of shape `held`; None for a tensor.
        origin: the weight that a constant was computed from, for its name in the file.
    """

    shape: Shape
    held: Shape
    dtype: np.dtype
    name: str = ""
    data: np.ndarray | None = None
    origin: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether no broadcast is pending."""
        return same(self.shape, self.held)


def constant(data: Any, origin: str = "") -> Value:
    """Return an array as a value."""
    data = np.asarray(data)
    return Value(data.shape, data.shape, data.dtype, data=data, origin=origin)


def is_symbolic(dim: Dim) -> bool:
    """Return whether a dimension is known only at run time."""
    return not isinstance(dim, (int, np.integer))


def same(a: Shape, b: Shape) -> bool:
    """Return whether two shapes are equal, symbolic dimensions included."""
    return len(a) == len(b) and all(x == y for x, y in zip(a, b, strict=True))


class Graph:
    """Nodes and constants, in the order in which they are added.

    Args:
        batch: the symbolic dimension; all others are multiples of it.
        half: store large constants in float16, with a node that converts them to float32.
    """

    def __init__(self, batch: Dim, half: bool = False):
        """Create an empty graph."""
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self._batch_dim, self._half = batch, half
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._names: dict[str, int] = {}
        self._constants: dict[tuple, str] = {}
        self._batch = ""

    def fresh(self, label: str) -> str:
        """Return an unused name."""
        count = self._names.get(label, 0)
        self._names[label] = count + 1
        return f"{label}.{count}" if count else label

    def add(self, op: str, inputs: Sequence[Value | str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Append a node; return the names of its outputs."""
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(self._helper.make_node(op, [self.name(x) for x in inputs], names, **attributes))
        return names

    def name(self, value: Value | str) -> str:
        """Return the name of a tensor or constant, without its pending broadcasts; a constant is stored."""
        if isinstance(value, str):
            return value
        if value.data is None:
            return value.name
        return self.store(value.data, value.origin or "constant")

    def store(self, data: np.ndarray, label: str) -> str:
        """Store a constant and return its name; equal constants are stored once."""
        data = np.ascontiguousarray(data) if data.ndim else data
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = name = self.fresh(label)
            if self._half and data.dtype == np.float32 and data.size >= 64:
                small = self.fresh(f"{label}.float16")
                with np.errstate(over="ignore"):
                    narrow = data.astype(np.float16)
                if not np.isfinite(narrow).all():
                    raise OnnxError(
                        f"the weight {label} has values above 65504, which float16 cannot represent; omit half (--half)"
                    )
                self.initializers.append(self._numpy.from_array(narrow, small))
                self.nodes.append(self._helper.make_node("Cast", [small], [name], to=self.type(np.dtype(np.float32))))
            else:
                self.initializers.append(self._numpy.from_array(data, name))
        return self._constants[key]

    def ints(self, values: Sequence[int]) -> str:
        """Return the name of a constant int64[n]."""
        return self.store(np.asarray(values, np.int64), "sizes")

    def type(self, dtype: np.dtype) -> int:
        """Return ONNX's number for a dtype."""
        return self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def bind_batch(self, name: str, axis: int, factor: int) -> None:
        """Set the input and the axis from which the batch size is read, as `factor` times it."""
        self._source = (name, axis, factor)

    def multiple(self, dim: Dim) -> int:
        """Return k for a dimension k * batch.

        Raises:
            OnnxError: it is not of this form.
        """
        for k in range(1, 4097):
            if dim == k * self._batch_dim:
                return k
        raise OnnxError(f"a dimension is {dim}, not a whole multiple of the batch")

    def dimension(self, dim: Dim) -> str:
        """Return the name of a tensor int64[1] that holds a symbolic dimension."""
        if not self._batch:
            name, axis, factor = self._source
            (size,) = self.add("Shape", [name], start=axis, end=axis + 1)
            self._batch = size if factor == 1 else self.add("Div", [size, self.ints([factor])])[0]
        k = self.multiple(dim)
        return self._batch if k == 1 else self.add("Mul", [self._batch, self.ints([k])])[0]

    def sizes(self, shape: Shape) -> str:
        """Return the name of a tensor int64[n] that holds a shape."""
        if not any(map(is_symbolic, shape)):
            return self.ints([int(x) for x in shape])
        parts = [self.dimension(dim) if is_symbolic(dim) else self.ints([int(dim)]) for dim in shape]
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, axis=0)[0]

    def tensor(self, name: str, like: Value, shape: Shape, held: Shape | None = None) -> Value:
        """Return the value of a new tensor."""
        return Value(tuple(shape), tuple(shape if held is None else held), like.dtype, name)

    def whole(self, value: Value) -> Value:
        """Return a value with its broadcasts carried out."""
        if value.is_whole:
            return value
        if value.data is not None and not any(map(is_symbolic, value.shape)):
            data = np.broadcast_to(value.data, tuple(map(int, value.shape)))
            return dataclasses.replace(value, held=value.shape, data=data)
        # Expand broadcasts in both directions, so axes that already have their size are passed as 1.
        wanted = tuple(1 if x == y else x for x, y in zip(value.shape, value.held, strict=True))
        (name,) = self.add("Expand", [value, self.sizes(wanted)])
        return self.tensor(name, value, value.shape)
