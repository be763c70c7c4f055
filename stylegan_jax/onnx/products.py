"""Matrix products and convolutions in ONNX, whose images are [n, c, h, w]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stylegan_jax.onnx.graph import Graph, OnnxError, Shape, Value, constant
from stylegan_jax.onnx.moves import cut, pad, reshape, transpose


def dot(graph: Graph, inputs: list[Value], outs: list[Any], *, dimension_numbers, **params: Any) -> list[Value]:
    """Write `dot_general` as one matrix product."""
    (left_sum, right_sum), (left_batch, right_batch) = dimension_numbers
    a, b = (graph.whole(x) for x in inputs)
    free = lambda x, used: [axis for axis in range(len(x.shape)) if axis not in used]
    left_free, right_free = free(a, {*left_sum, *left_batch}), free(b, {*right_sum, *right_batch})
    shape = tuple(outs[0].shape)
    if not left_batch and len(left_sum) == 1 and len(right_free) == 1:  # a dense layer: MatMul keeps leading axes
        a = transpose(graph, a, [*left_free, *left_sum])
        b = transpose(graph, b, [*right_sum, *right_free])
        return [graph.tensor(graph.add("MatMul", [a, b])[0], a, shape)]
    size = lambda x, axes: math.prod(x.shape[axis] for axis in axes)
    batch = tuple(a.shape[axis] for axis in left_batch)
    rows, sums, columns = size(a, left_free), size(a, left_sum), size(b, right_free)
    a = reshape(graph, transpose(graph, a, [*left_batch, *left_free, *left_sum]), (*batch, rows, sums))
    b = reshape(graph, transpose(graph, b, [*right_batch, *right_sum, *right_free]), (*batch, sums, columns))
    out = graph.tensor(graph.add("MatMul", [a, b])[0], a, (*batch, rows, columns))
    return [reshape(graph, out, shape)]


def convolution(
    graph: Graph,
    inputs: list[Value],
    outs: list[Any],
    *,
    window_strides,
    padding,
    lhs_dilation,
    rhs_dilation,
    dimension_numbers,
    feature_group_count,
    batch_group_count,
    **params: Any,
) -> list[Value]:
    """Write a convolution; one with a dilated input becomes a transposed convolution.

    Raises:
        OnnxError: it has groups in the batch, or a dilated input and a kernel that is computed at run time.
    """
    if batch_group_count != 1:
        raise OnnxError("a convolution with groups in the batch")
    spec = dimension_numbers
    x = transpose(graph, graph.whole(inputs[0]), spec.lhs_spec)
    w = transpose(graph, graph.whole(inputs[1]), spec.rhs_spec)
    order = np.argsort(spec.out_spec).tolist()
    nchw = tuple(outs[0].shape[axis] for axis in spec.out_spec)
    shared = {"group": feature_group_count, "dilations": list(map(int, rhs_dilation))}
    if all(d == 1 for d in lhs_dilation):
        if any(p < 0 for side in padding for p in side):
            crop = [(min(low, 0), min(high, 0)) for low, high in padding]
            x = pad(graph, x, [(0, 0), (0, 0), *crop], constant(np.zeros([], x.dtype)))
            padding = [(max(low, 0), max(high, 0)) for low, high in padding]
        pads = [low for low, _ in padding] + [high for _, high in padding]
        (name,) = graph.add("Conv", [x, w], strides=list(map(int, window_strides)), pads=pads, **shared)
        return [transpose(graph, graph.tensor(name, x, nchw), order)]
    y = _transposed(graph, x, w, nchw[1], padding, lhs_dilation, rhs_dilation, shared)
    if any(stride != 1 for stride in window_strides):
        starts, steps = [0] * 4, [1, 1, *map(int, window_strides)]
        y = cut(graph, y, starts, y.shape, steps, nchw)
    return [transpose(graph, y, order)]


def _transposed(graph: Graph, x: Value, w: Value, channels: int, padding, stride, dilation, shared) -> Value:
    """Convolve an input with stride - 1 zeros between samples, by ConvTranspose and the flipped kernel."""
    if w.data is None:
        raise OnnxError("a transposed convolution with a kernel that is computed at run time")
    groups = shared["group"]
    out, inside, *kernel = w.data.shape
    turned = w.data[:, :, ::-1, ::-1].reshape(groups, out // groups, inside, *kernel)
    turned = turned.transpose(0, 2, 1, 3, 4).reshape(groups * inside, out // groups, *kernel)
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    left = [(r - low, r - high) for r, (low, high) in zip(reach, padding, strict=True)]  # what to cut off the full size
    pads = [max(low, 0) for low, _ in left] + [max(high, 0) for _, high in left]
    (name,) = graph.add("ConvTranspose", [x, constant(turned, w.origin)], strides=list(stride), pads=pads, **shared)
    full = [(size - 1) * s + 1 + r for size, s, r in zip(x.shape[2:], stride, reach, strict=True)]
    kept: Shape = tuple(f - max(low, 0) - max(high, 0) for f, (low, high) in zip(full, left, strict=True))
    y = graph.tensor(name, x, (x.shape[0], channels, *kept))
    more = [(max(-low, 0), max(-high, 0)) for low, high in left]
    return pad(graph, y, [(0, 0), (0, 0), *more], constant(np.zeros([], x.dtype)))
