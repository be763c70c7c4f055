"""Operations that move elements, which several rules use."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stylegan_jax.onnx.graph import Graph, OnnxError, Shape, Value, is_symbolic, same


def reshape(graph: Graph, x: Value, shape: Shape) -> Value:
    """Return a value with its elements in another shape, of which at most one dimension is symbolic."""
    x = graph.whole(x)
    if same(x.shape, shape):
        return x
    if sum(map(is_symbolic, shape)) > 1:
        raise OnnxError(f"a reshape to {shape}: at most one dimension may depend on the batch")
    sizes = graph.ints([-1 if is_symbolic(d) else int(d) for d in shape])
    return graph.tensor(graph.add("Reshape", [x, sizes])[0], x, shape)


def transpose(graph: Graph, x: Value, order: Sequence[int]) -> Value:
    """Return a value with its axes in another order."""
    order = list(map(int, order))
    if order == list(range(len(order))):
        return x
    move = lambda shape: tuple(shape[axis] for axis in order)
    if x.data is not None:
        return dataclasses.replace(x, shape=move(x.shape), held=move(x.held), data=x.data.transpose(order))
    return graph.tensor(graph.add("Transpose", [x], perm=order)[0], x, move(x.shape), move(x.held))


def cut(graph: Graph, x: Value, starts, ends, steps, shape: Shape) -> Value:
    """Return x[starts:ends:steps] along every axis; whole axes and those with pending broadcasts are unchanged.

    Raises:
        OnnxError: only part of a symbolic axis is taken.
    """
    axes, held = [], list(x.held)
    for axis, (size, start, end, step) in enumerate(zip(x.shape, starts, ends, steps, strict=True)):
        if step == 1 and not is_symbolic(start) and start == 0 and end == size:
            continue
        if is_symbolic(size) or is_symbolic(start) or is_symbolic(end):
            raise OnnxError("it takes part of the batch, whose size is unknown at export")
        if not is_symbolic(x.held[axis]) and x.held[axis] == 1 and size != 1:
            continue
        axes.append(axis)
        held[axis] = shape[axis]
    if not axes:
        return dataclasses.replace(x, shape=tuple(shape))
    pick = lambda values: graph.ints([int(values[axis]) for axis in axes])
    (name,) = graph.add("Slice", [x, pick(starts), pick(ends), graph.ints(axes), pick(steps)])
    return graph.tensor(name, x, shape, tuple(held))


def pad(graph: Graph, x: Value, pads: Sequence[tuple[int, int]], value: Value) -> Value:
    """Return a value with elements added or removed before and after each axis."""
    grown = tuple(size + low + high if low or high else size for size, (low, high) in zip(x.shape, pads, strict=True))
    if any(low < 0 or high < 0 for low, high in pads):
        starts = [max(-low, 0) for low, _ in pads]
        ends = [size - max(-high, 0) if high < 0 else size for size, (_, high) in zip(x.shape, pads, strict=True)]
        cropped = tuple(e - s if s or e != d else d for s, e, d in zip(starts, ends, x.shape, strict=True))
        x = cut(graph, x, starts, ends, [1] * len(starts), cropped)
    axes = [axis for axis, (low, high) in enumerate(pads) if low > 0 or high > 0]
    if not axes:
        return dataclasses.replace(x, shape=grown, held=grown)
    sizes = [max(pads[axis][0], 0) for axis in axes] + [max(pads[axis][1], 0) for axis in axes]
    (name,) = graph.add("Pad", [x, graph.ints(sizes), value, graph.ints(axes)], mode="constant")
    return graph.tensor(name, x, grown)
