"""Rules for writing JAX's primitives in ONNX: element-wise operations, and those that move elements."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stylegan_jax.onnx import products
from stylegan_jax.onnx.graph import Graph, OnnxError, Shape, Value, constant, is_symbolic
from stylegan_jax.onnx.moves import cut, pad, reshape, transpose

Rule = Callable[..., list[Value]]
"""(graph, inputs, output shapes and dtypes, params of the primitive) -> outputs."""

UNARY = {
    "neg": "Neg",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "logistic": "Sigmoid",
    "not": "Not",
}
BINARY = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "and": "And",
    "or": "Or",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
}
REDUCE = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd"}
SAME = ("copy", "copy_p", "stop_gradient", "optimization_barrier", "sharding_constraint", "device_put")


def broadcast_held(inputs: Sequence[Value]) -> Shape:
    """Return the shape that an element-wise operation of ONNX has on tensors with pending broadcasts."""
    rank = max(len(x.held) for x in inputs)
    padded = [(1,) * (rank - len(x.held)) + x.held for x in inputs]
    return tuple(next((d for d in dims if is_symbolic(d) or d != 1), 1) for dims in zip(*padded, strict=True))


def elementwise(op: str) -> Rule:
    """Return the rule of an element-wise operation."""

    def rule(graph: Graph, inputs: list[Value], outs: list[Any], **params: Any) -> list[Value]:
        return [combine(graph, op, inputs, outs[0])]

    return rule


def combine(graph: Graph, op: str, inputs: Sequence[Value], out: Any, **attributes: Any) -> Value:
    """Return an element-wise operation on values with pending broadcasts."""
    (name,) = graph.add(op, inputs, **attributes)
    return Value(tuple(out.shape), broadcast_held(inputs), np.dtype(out.dtype), name)


def scalar(x: float, like: Value) -> Value:
    """Return a constant of the dtype of another value."""
    return constant(np.asarray(x, like.dtype))


def _square(graph, inputs, outs, **params):
    return [combine(graph, "Mul", [inputs[0], inputs[0]], outs[0])]


def _rsqrt(graph, inputs, outs, **params):
    return [combine(graph, "Reciprocal", [combine(graph, "Sqrt", inputs, outs[0])], outs[0])]


def _integer_pow(graph, inputs, outs, *, y, **params):
    x = inputs[0]
    if y == 2:
        return _square(graph, inputs, outs)
    if y == -1:
        return [combine(graph, "Reciprocal", [x], outs[0])]
    return [combine(graph, "Pow", [x, scalar(y, x)], outs[0])]


def _ne(graph, inputs, outs, **params):
    return [combine(graph, "Not", [combine(graph, "Equal", inputs, outs[0])], outs[0])]


def _rem(graph, inputs, outs, **params):
    return [combine(graph, "Mod", inputs, outs[0], fmod=1)]


def _round(graph, inputs, outs, *, rounding_method, **params):
    if rounding_method.name != "TO_NEAREST_EVEN":
        raise OnnxError(f"round with {rounding_method.name}; ONNX rounds halves to even numbers")
    return [combine(graph, "Round", inputs, outs[0])]


def _select(graph, inputs, outs, **params):
    if len(inputs) != 3 or inputs[0].dtype != np.bool_:
        raise OnnxError(
            f"select_n has {len(inputs) - 1} cases chosen by {inputs[0].dtype}; only two chosen by bool are supported"
        )
    which, no, yes = inputs
    return [combine(graph, "Where", [which, yes, no], outs[0])]


def _clamp(graph, inputs, outs, **params):
    least, x, most = inputs
    return [combine(graph, "Min", [combine(graph, "Max", [x, least], outs[0]), most], outs[0])]


def _convert(graph, inputs, outs, **params):
    return [combine(graph, "Cast", inputs, outs[0], to=graph.type(outs[0].dtype))]


def _same(graph, inputs, outs, **params):
    return list(inputs)


def _broadcast(graph, inputs, outs, *, shape, broadcast_dimensions, **params):
    x, out = inputs[0], outs[0]
    held = [1] * len(out.shape)
    for axis, size in zip(broadcast_dimensions, x.held, strict=True):
        held[axis] = size
    if x.data is not None:
        data = x.data.reshape([int(d) for d in held])
        return [dataclasses.replace(x, shape=tuple(out.shape), held=data.shape, data=data)]
    added = [axis for axis in range(len(held)) if axis not in broadcast_dimensions]
    name = graph.add("Unsqueeze", [x, graph.ints(added)])[0] if added else x.name
    return [graph.tensor(name, x, out.shape, tuple(held))]


def _reshape(graph, inputs, outs, *, dimensions=None, **params):
    if dimensions is not None:
        raise OnnxError("a reshape that also transposes is not supported")
    return [reshape(graph, inputs[0], tuple(outs[0].shape))]


def _squeeze(graph, inputs, outs, *, dimensions, **params):
    x = inputs[0]
    held = tuple(d for axis, d in enumerate(x.held) if axis not in dimensions)
    return [graph.tensor(graph.add("Squeeze", [x, graph.ints(dimensions)])[0], x, outs[0].shape, held)]


def _transpose(graph, inputs, outs, *, permutation, **params):
    return [transpose(graph, inputs[0], permutation)]


def _slice(graph, inputs, outs, *, start_indices, limit_indices, strides, **params):
    steps = strides or (1,) * len(start_indices)
    return [cut(graph, inputs[0], start_indices, limit_indices, steps, tuple(outs[0].shape))]


def _rev(graph, inputs, outs, *, dimensions, **params):
    x = inputs[0]
    axes = [axis for axis in dimensions if is_symbolic(x.held[axis]) or x.held[axis] != 1]
    if not axes:
        return [x]
    count = len(axes)
    least = graph.ints([np.iinfo(np.int64).min] * count)
    (name,) = graph.add("Slice", [x, graph.ints([-1] * count), least, graph.ints(axes), graph.ints([-1] * count)])
    return [graph.tensor(name, x, x.shape, x.held)]


def _pad(graph, inputs, outs, *, padding_config, **params):
    x, value = inputs
    if any(interior for _, _, interior in padding_config):
        raise OnnxError("padding between elements is not supported")
    x = graph.whole(x)
    return [pad(graph, x, [(low, high) for low, high, _ in padding_config], value)]


def _concatenate(graph, inputs, outs, *, dimension, **params):
    parts = [graph.whole(x) for x in inputs]
    return [graph.tensor(graph.add("Concat", parts, axis=dimension)[0], parts[0], outs[0].shape)]


def _stack(graph, inputs, outs, *, axis, **params):
    parts = [graph.add("Unsqueeze", [graph.whole(x), graph.ints([axis])])[0] for x in inputs]
    return [graph.tensor(graph.add("Concat", parts, axis=axis)[0], inputs[0], outs[0].shape)]


def _split(graph, inputs, outs, *, sizes, axis, **params):
    x = graph.whole(inputs[0])
    names = graph.add("Split", [x, graph.ints(sizes)], outputs=len(outs), axis=axis)
    return [graph.tensor(name, x, out.shape) for name, out in zip(names, outs, strict=True)]


def _reduce(op: str) -> Rule:
    def rule(graph, inputs, outs, *, axes, **params):
        x = graph.whole(inputs[0])
        (name,) = graph.add(op, [x, graph.ints(axes)], keepdims=0)
        return [graph.tensor(name, x, outs[0].shape)]

    return rule


def _argmax(graph, inputs, outs, *, axes, index_dtype, **params):
    x = graph.whole(inputs[0])
    (name,) = graph.add("ArgMax", [x], axis=axes[0], keepdims=0)
    found = Value(tuple(outs[0].shape), tuple(outs[0].shape), np.dtype(np.int64), name)
    return _convert(graph, [found], outs)


def _cumsum(graph, inputs, outs, *, axis, reverse, **params):
    x = graph.whole(inputs[0])
    (name,) = graph.add("CumSum", [x, constant(np.int64(axis))], reverse=int(reverse))
    return [graph.tensor(name, x, outs[0].shape)]


def _gather(graph, inputs, outs, *, dimension_numbers, slice_sizes, **params):
    """Write a gather along an axis by number, such as of rows of an embedding, or of a slice at a known place."""
    x, index = graph.whole(inputs[0]), inputs[1]
    d = dimension_numbers
    if d.operand_batching_dims or d.start_indices_batching_dims:
        return [_gather_each(graph, x, graph.whole(index), outs[0], d, slice_sizes)]
    if index.data is not None and index.data.ndim == 1:
        starts, ends = [0] * len(x.shape), list(x.shape)
        for axis, at in zip(d.start_index_map, index.data, strict=True):
            starts[axis], ends[axis] = int(at), int(at) + int(slice_sizes[axis])
        for axis, size in enumerate(slice_sizes):
            if axis not in d.start_index_map and not size == x.shape[axis]:
                raise OnnxError("gather takes part of an axis without a start")
        part = cut(graph, x, starts, ends, [1] * len(starts), tuple(slice_sizes))
        return [reshape(graph, part, tuple(outs[0].shape))]
    axis = d.start_index_map[0]
    count = len(index.shape) - 1
    kept = tuple(a for a in range(len(outs[0].shape)) if not axis <= a < axis + count)
    if d.collapsed_slice_dims != (axis,) or d.offset_dims != kept:
        raise OnnxError(f"gather with {d}; only elements along one axis and slices at a known place are supported")
    numbers = reshape(graph, index, tuple(index.shape[:-1]))
    (name,) = graph.add("Gather", [x, numbers], axis=axis)
    return [graph.tensor(name, x, outs[0].shape)]


def _gather_each(graph, x, index, out, d, slice_sizes):
    """Write a gather of elements along the second axis, with separate numbers for each row of the batch."""
    rest = tuple(range(len(index.shape) - 1, len(out.shape)))
    along = (d.operand_batching_dims, d.start_indices_batching_dims, d.start_index_map, d.collapsed_slice_dims)
    is_rows = along == ((0,), (0,), (1,), (1,)) and d.offset_dims == rest
    if not is_rows or tuple(slice_sizes[2:]) != tuple(x.shape[2:]):
        raise OnnxError(f"gather with {d}; in batches, only rows by number are supported")
    (numbers,) = graph.add("Cast", [index], to=graph.type(np.dtype(np.int64)))
    (name,) = graph.add("GatherND", [x, dataclasses.replace(index, name=numbers, data=None)], batch_dims=1)
    return graph.tensor(name, x, out.shape)


def _dim_as_value(graph, inputs, outs, *, dim, **params):
    size = Value((), (), np.dtype(np.int64), graph.add("Squeeze", [graph.dimension(dim)])[0])
    return _convert(graph, [size], outs)


RULES: dict[str, Rule] = {
    **{name: elementwise(op) for name, op in (UNARY | BINARY).items()},
    **{name: _reduce(op) for name, op in REDUCE.items()},
    **dict.fromkeys(SAME, _same),
    "square": _square,
    "rsqrt": _rsqrt,
    "integer_pow": _integer_pow,
    "ne": _ne,
    "rem": _rem,
    "round": _round,
    "select_n": _select,
    "clamp": _clamp,
    "convert_element_type": _convert,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "slice": _slice,
    "rev": _rev,
    "pad": _pad,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "argmax": _argmax,
    "cumsum": _cumsum,
    "gather": _gather,
    "dim_as_value": _dim_as_value,
    "dot_general": products.dot,
    "conv_general_dilated": products.convolution,
}
ELEMENTWISE = {*UNARY, *BINARY, "square", "rsqrt", "integer_pow", "ne", "rem", "round", "select_n", "clamp"}
ELEMENTWISE |= {"convert_element_type", *SAME}
"""Primitives that are evaluated on constants with pending broadcasts."""
