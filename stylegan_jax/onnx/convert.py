"""From a JAX function to an ONNX model, equation by equation; constants are evaluated at export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import export

from stylegan_jax.base.backend import tracing_for
from stylegan_jax.base.trees import flatten
from stylegan_jax.onnx.graph import Graph, OnnxError, Value, constant, is_symbolic
from stylegan_jax.onnx.rules import ELEMENTWISE, RULES, broadcast_held

OPSET = 18
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr"}
CALLS |= {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "checkpoint": "jaxpr"}
"""Primitives that call a program, and the parameter that holds it."""
NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "add": lambda a, b, **_: a + b,
    "sub": lambda a, b, **_: a - b,
    "mul": lambda a, b, **_: a * b,
    "max": lambda a, b, **_: np.maximum(a, b),
    "min": lambda a, b, **_: np.minimum(a, b),
    "neg": lambda x, **_: -x,
    "square": lambda x, **_: x * x,
    "sqrt": lambda x, **_: np.sqrt(x),
    "rsqrt": lambda x, **_: 1 / np.sqrt(x),
    "convert_element_type": lambda x, *, new_dtype, **_: x.astype(new_dtype),
    "reduce_sum": lambda x, *, axes, **_: x.sum(tuple(axes), dtype=x.dtype),
    "squeeze": lambda x, *, dimensions, **_: x.squeeze(tuple(dimensions)),
    "rev": lambda x, *, dimensions, **_: np.flip(x, dimensions),
    "concatenate": lambda *parts, dimension, **_: np.concatenate(parts, dimension),
}
"""NumPy versions for constants, because JAX would compile a program for each shape."""


def to_onnx(
    function: Callable[..., jax.Array],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Sequence[int | str]],
    output: str,
    *,
    half: bool = False,
    about: Mapping[str, str] | None = None,
) -> Any:
    """Return the `onnx.ModelProto` of a function.

    Args:
        function: (weights, *inputs) -> array. Its program must not depend on values.
        weights: {name: array}; they become constants of the model under their names.
        inputs: name -> shape of a float32 array; the size 'b' is the batch, any number from 1.
        output: name of the result.
        half: store large weights in float16; they are converted to float32 on loading.
        about: the model's metadata.

    Raises:
        OnnxError: this exporter has no rule for an operation, or ONNX lacks it; the message names it.
    """
    import onnx
    from onnx import helper

    (batch,) = export.symbolic_shape("b")
    shapes = [tuple(batch if size == "b" else size for size in shape) for shape in inputs.values()]
    with tracing_for("onnx"):
        given = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        known = {name: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype) for name, x in weights.items()}
        closed = jax.make_jaxpr(function)(known, *given)
    graph = Graph(batch, half)
    flat = flatten(dict(weights))
    values = [constant(flat[name], name) for name in sorted(flat)]
    for name, shape in zip(inputs, shapes, strict=True):
        graph.fresh(name)
        values.append(Value(shape, shape, np.dtype(np.float32), name))
        if is_symbolic(next(iter(shape), 1)):
            graph.bind_batch(name, 0, 1)
    graph.fresh(output)
    (result,) = _run(graph, closed.jaxpr, [constant(x) for x in closed.consts], values)
    result = graph.whole(result)
    graph.nodes.append(helper.make_node("Identity", [graph.name(result)], [output]))
    info = lambda name, dtype, shape: helper.make_tensor_value_info(
        name, graph.type(dtype), ["batch" if is_symbolic(d) else int(d) for d in shape]
    )
    made = helper.make_graph(
        graph.nodes,
        "generator",
        [info(name, np.float32, shape) for name, shape in zip(inputs, shapes, strict=True)],
        [info(output, result.dtype, result.shape)],
        graph.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="stylegan_jax")
    model.ir_version = 9
    helper.set_model_props(model, dict(about or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(graph: Graph, jaxpr: Any, consts: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
    """Write the equations of a program; return the values of its outputs."""
    known = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, inputs, strict=True))
    read = lambda atom: constant(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else known[atom]
    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        outs = [atom.aval for atom in equation.outvars]
        for variable, value in zip(equation.outvars, _equation(graph, equation, given, outs), strict=True):
            known[variable] = value
    return [read(atom) for atom in jaxpr.outvars]


def _equation(graph: Graph, equation: Any, given: list[Value], outs: list[Any]) -> list[Value]:
    """Return the outputs of an equation, as constants if its inputs are."""
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        called = params[CALLS[name]]
        inner, consts = getattr(called, "jaxpr", called), getattr(called, "consts", ())
        return _run(graph, inner, [constant(x) for x in consts], given)
    if name == "iota":
        return [_iota(outs[0], params["dimension"])]
    if name not in RULES:
        raise OnnxError(f"the primitive {name!r} of JAX has no rule for ONNX ({equation.source_info.name_stack})")
    folded = _fold(equation, given, outs)
    if folded is not None:
        return folded
    try:
        return RULES[name](graph, given, outs, **params)
    except OnnxError as error:
        raise OnnxError(f"the primitive {name!r}: {error}") from None
    except Exception as error:
        if type(error).__name__ != "InconclusiveDimensionOperation":  # JAX no longer exports this class
            raise
        why = str(error).partition("\n")[0]
        raise OnnxError(f"the primitive {name!r}: a size depends on the batch ({why})") from None


def _iota(out: Any, axis: int) -> Value:
    size = [1] * len(out.shape)
    size[axis] = out.shape[axis]
    if is_symbolic(size[axis]):
        raise OnnxError("the primitive 'iota' counts along the batch, which is unknown at export")
    data = np.arange(size[axis], dtype=out.dtype).reshape(size)
    return Value(tuple(out.shape), tuple(size), np.dtype(out.dtype), data=data)


def _fold(equation: Any, given: list[Value], outs: list[Any]) -> list[Value] | None:
    """Return constants if all inputs are constants, or None; broadcasts of constants stay pending."""
    name = equation.primitive.name
    if name in ("broadcast_in_dim", "transpose") or not given:
        return None
    known = [x.data for x in given if x.data is not None]
    if len(known) < len(given):
        return None
    origin = next((x.origin for x in given if x.origin), "")
    if name in ELEMENTWISE:
        held = broadcast_held(given)
        arrays = [x if x.ndim == 0 else np.broadcast_to(x, held) for x in known]
    elif any(is_symbolic(d) for x in given for d in x.shape) or any(is_symbolic(d) for out in outs for d in out.shape):
        return None
    else:
        arrays = [np.broadcast_to(data, tuple(map(int, x.shape))) for data, x in zip(known, given, strict=True)]
    found = _evaluate(equation, arrays)
    values = []
    for data, out in zip(found, outs, strict=True):
        shape = tuple(out.shape)
        if len(shape) != data.ndim:
            data = np.broadcast_to(data, (1,) * (len(shape) - data.ndim) + data.shape)
        if not all(is_symbolic(s) or h in (1, s) for s, h in zip(shape, data.shape, strict=True)):
            raise AssertionError(f"{name}: {data.shape} for {shape}")
        values.append(Value(shape, data.shape, np.dtype(out.dtype), data=data, origin=origin))
    return values


def _evaluate(equation: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of an equation on arrays, computed on the CPU."""
    if equation.primitive.name in NUMPY:
        found = NUMPY[equation.primitive.name](*arrays, **equation.params)
        return [np.asarray(found, equation.outvars[0].aval.dtype)]
    with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.ensure_compile_time_eval():
        found = equation.primitive.bind(*map(jax.numpy.asarray, arrays), **equation.params)
    return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]


__all__ = ["OPSET", "OnnxError", "to_onnx"]
