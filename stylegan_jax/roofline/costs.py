"""The cost of one instruction in a scheduled TPU program: operations, bytes, bytes between chips, and its kind."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from stylegan_jax.roofline.chips import Chip
from stylegan_jax.roofline.hlo import Array, Instruction, Module

KINDS = ("convolution", "FIR", "element-wise", "layout change", "prefetch", "collective")
"""Convolutions include matrix products, element-wise includes reductions and random numbers; a prefetch is a copy
between HBM and the chip's own memory while something else runs."""

SUBLANES = 8
_PRODUCTS = {"convolution", "dot"}
_SENT_WHOLE = ("collective-permute", "collective-broadcast")
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", *_SENT_WHOLE)
_FREE = {
    *("parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "partition-id", "replica-id"),
    *("copy-done", "slice-done", "async-update", "async-done", "opt-barrier", "add-dependency"),
}
_MOVES = {
    *("copy", "transpose", "reshape", "bitcast", "pad", "slice", "concatenate", "broadcast", "reverse"),
    *("parameter", "constant", "tuple", "get-tuple-element", "iota", "dynamic-slice", "dynamic-update-slice"),
}
_FILTERS = ("ops/fir.py", "ops/filtered_lrelu.py")
_CALLS = {"while", "conditional", "call", "async-start"}


class Cost(NamedTuple):
    """The cost of one instruction on one device, each time it runs.

    Attributes:
        kind: one of `KINDS`.
        flops: of matrix products and convolutions, times the passes that float32 takes at a higher precision.
        padded: the same with extents padded for the matrix unit.
        read, written: bytes from and to HBM, with the padding of layouts.
        logical: their sum without padding.
        sent: bytes that cross a link in one direction.
        cycles: the compiler's own estimate; 0: none.
    """

    kind: str
    flops: float = 0.0
    padded: float = 0.0
    read: float = 0.0
    written: float = 0.0
    logical: float = 0.0
    sent: float = 0.0
    cycles: float = 0.0

    @property
    def moved(self) -> float:
        """Bytes to and from HBM."""
        return self.read + self.written


class Step(NamedTuple):
    """An instruction of the schedule, how often it runs, and what it costs each time."""

    instruction: Instruction
    times: float
    cost: Cost
    frame: int


def steps(module: Module, chip: Chip) -> Iterator[Step]:
    """Yield what a program runs, in order: loops as often as the compiler states (or once), the most expensive branch.

    Args:
        module: the parsed program.
        chip: the chip that runs it.
    """
    yield from _steps(module, module.entry, 1.0, chip)


def _steps(module: Module, name: str, times: float, chip: Chip) -> Iterator[Step]:
    body = module.computations[name]
    for made in body.values():
        if made.opcode in _CALLS:
            yield from _called(module, made, times, chip)
        elif made.opcode not in _FREE and not made.opcode.endswith("-done"):
            inner = list(_inside(module, made))
            main = max(inner, key=lambda i: (i.opcode in _PRODUCTS, i is made))
            yield Step(made, times, _cost(module, body, made, inner, chip.lanes), main.frame or made.frame)


def _called(module: Module, made: Instruction, times: float, chip: Chip) -> Iterator[Step]:
    times *= _trips(module, made) if made.opcode == "while" else 1
    branches = [list(_steps(module, name, times, chip)) for name in made.called]
    if made.opcode == "conditional":
        seconds = lambda s: s.times * max(s.cost.moved / chip.bandwidth, s.cost.flops / chip.flops)
        branches = [max(branches, key=lambda branch: sum(map(seconds, branch)))]
    for branch in branches:
        yield from branch


def _trips(module: Module, made: Instruction) -> int:
    """Return how often a loop's body runs: the bound of a counter that starts at 0; 1 if it is not a constant."""
    if found := re.search(r'known_trip_count":\{"n":"(\d+)"', made.text):
        return int(found[1])
    found = re.search(r"condition=%?([\w.\-]+)", made.text)
    test = [i for top in module.computations[found[1]].values() for i in _inside(module, top)] if found else []
    bounds = [i.operands[0] for i in test if i.opcode == "constant" and i.operands[0].isdecimal()]
    counts = [i for i in test if i.opcode == "compare" and "direction=LT" in i.text]
    return int(bounds[0]) if len(bounds) == 1 and len(counts) == 1 else 1


def _inside(module: Module, made: Instruction) -> Iterator[Instruction]:
    """Yield an instruction and, if it is a fusion, everything in it."""
    yield made
    if made.opcode == "fusion":
        for name in made.called:
            for inner in module.computations.get(name, {}).values():
                yield from _inside(module, inner)


def _cost(
    module: Module, body: dict[str, Instruction], made: Instruction, inner: list[Instruction], lanes: int
) -> Cost:
    shapes = _shapes(module, body, made)
    products = [_product(i, shapes, lanes) for i in inner if i.opcode in _PRODUCTS]
    read, read_logical = _read(module, body, made)
    written, logical = _written(module, body, made)
    found = re.search(r'"estimated_cycles":"(\d+)"', made.text)
    return Cost(
        _kind(module, made, inner),
        sum(flops for flops, _ in products),
        sum(padded for _, padded in products),
        read,
        written,
        logical + read_logical,
        _sent(module, body, made),
        float(found[1]) if found else 0.0,
    )


def _kind(module: Module, made: Instruction, inner: list[Instruction]) -> str:
    if any(made.opcode.startswith(name) for name in _COLLECTIVES):
        return "collective"
    if made.opcode in ("copy-start", "slice-start"):
        return "prefetch"
    products = [i for i in inner if i.opcode in _PRODUCTS]
    for i in products or [made]:
        if any(f.file.endswith(_FILTERS) for f in module.stack(i.frame)):
            return "FIR"
    if products:
        return "convolution"
    opcodes = {i.opcode for i in inner} - {"fusion"}
    return "layout change" if opcodes <= _MOVES else "element-wise"


def _shapes(module: Module, body: dict[str, Instruction], made: Instruction) -> dict[str, Instruction]:
    """Return by name the instructions that may be operands inside a fusion."""
    found = dict(body)
    for name in made.called if made.opcode == "fusion" else ():
        for inner in module.computations.get(name, {}).values():
            found |= {inner.name: inner}
            found |= _shapes(module, {}, inner) if inner.opcode == "fusion" else {}
    return found


def _product(made: Instruction, shapes: dict[str, Instruction], lanes: int) -> tuple[float, float]:
    """Return the operations of a convolution or matrix product, and those with padded extents.

    As a matrix product, a convolution contracts input features and taps, and yields output features for every position.
    The contracted extent and the output features are rounded up to the matrix unit's side, positions to the 8 rows that
    it takes at a time. A compiler that cannot pack taps pads more.
    """
    left, right = (shapes[name].arrays[0] for name in made.operands[:2])
    out = made.arrays[0]
    passes = _passes(made, left)
    if made.opcode == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", made.text)
        contracted = math.prod(left.dims[int(a)] for a in axes[1].split(",") if a) if axes else 1
        features = out.dims[-1] if out.dims else 1
        return _padded(contracted, features, math.prod(out.dims) / max(features, 1), 1.0, lanes, passes)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", made.text)
    if labels is None:
        return 0.0, 0.0
    of = lambda array, names, letter: array.dims[names.index(letter)] if letter in names else 1
    spatial = [c for c in labels[3] if c.isdigit()]
    window = _window(made.text, len(spatial))
    pairs = taps = 1.0
    for k, axis in enumerate(spatial):
        size = (of(left, labels[1], axis), of(right, labels[2], axis), of(out, labels[3], axis))
        pairs *= _valid(*size, window, k)
        taps *= of(right, labels[2], axis)
    positions = of(out, labels[3], "b") * math.prod(of(out, labels[3], axis) for axis in spatial)
    dense = positions * taps
    valid = of(out, labels[3], "b") * pairs
    contracted, features = of(right, labels[2], "i") * taps, of(out, labels[3], "f")
    return _padded(contracted, features, positions, valid / dense if dense else 1.0, lanes, passes)


def _padded(
    contracted: float, features: float, rows: float, valid: float, lanes: int, passes: int
) -> tuple[float, float]:
    """Return 2 x contracted x features x rows x the valid share, and the same with extents rounded up."""
    up = lambda extent, side: -(-extent // side) * side
    flops = 2 * contracted * features * rows * valid * passes
    return flops, 2 * up(contracted, lanes) * up(features, lanes) * up(rows, SUBLANES) * valid * passes


def _passes(made: Instruction, left: Array) -> int:
    """Return how many bfloat16 products one float32 product takes: 1 by default, 3 at 'high', 6 at 'highest'."""
    found = re.search(r"operand_precision=\{(\w+)", made.text)
    return {"high": 3, "highest": 6}.get(found[1], 1) if found and left.dtype == "f32" else 1


def _window(text: str, rank: int) -> dict[str, list[list[int]]]:
    """Return stride, padding and dilations per spatial axis."""
    found = re.search(r"window=\{([^}]*)\}", text)
    fields = dict(field.split("=") for field in found[1].split()) if found else {}
    read = lambda key, default: [
        [int(v) for v in part.split("_")] for part in fields.get(key, "x".join([default] * rank)).split("x") if part
    ]
    keys = {"stride": "1", "pad": "0_0", "lhs_dilate": "1", "rhs_dilate": "1"}
    return {key: read(key, default) for key, default in keys.items()}


def _valid(size: int, taps: int, out: int, window: dict[str, list[list[int]]], axis: int) -> int:
    """Return how many pairs of output position and tap meet an input, not padding or a gap of its dilation."""
    stride, low = window["stride"][axis][0], window["pad"][axis][0]
    base, dilation = window["lhs_dilate"][axis][0], window["rhs_dilate"][axis][0]
    count = 0
    for tap in range(min(taps, out)):  # loop over the shorter of the two
        for start in (tap,) if taps <= out else ():
            count += _hits(out, stride, start * dilation - low, base, size)
        if taps > out:
            count += _hits(taps, dilation, tap * stride - low, base, size)
    return count


def _hits(count: int, step: int, offset: int, base: int, size: int) -> int:
    """Return how many of offset + i x step, i < count, are multiples of base below size x base and not negative."""
    return sum(1 for i in range(count) if 0 <= (at := offset + i * step) < (size - 1) * base + 1 and at % base == 0)


def _in_hbm(array: Array) -> bool:
    return array.space == 0


def _read(module: Module, body: dict[str, Instruction], made: Instruction) -> tuple[float, float]:
    """Return the bytes of operands in HBM, physical and logical; where a fusion slices, only the slices."""
    parameters = {}
    if made.opcode == "fusion":
        fused = module.computations[made.called[0]]
        parameters = {int(i.operands[0]): i for i in fused.values() if i.opcode == "parameter"}
    physical = logical = 0.0
    for place, name in enumerate(made.operands):
        if name not in body or made.opcode.endswith("-done"):
            continue
        whole = [a for a in body[name].arrays if _in_hbm(a)]
        part = _sliced(module.computations[made.called[0]], parameters[place].name) if place in parameters else None
        if made.opcode in ("dynamic-slice", "slice", "slice-start"):
            part = [made.arrays[made.opcode == "slice-start"]]
        if made.opcode == "dynamic-update-slice" and place == 0:
            part = []
        physical += min(sum(a.physical for a in whole), _bytes(part, True))
        logical += min(sum(a.logical for a in whole), _bytes(part, False))
    return physical, logical


def _bytes(part: list[Array] | None, padded: bool) -> float:
    return math.inf if part is None else sum(a.physical if padded else a.logical for a in part)


def _sliced(fused: dict[str, Instruction], parameter: str) -> list[Array] | None:
    """Return the slices of a parameter that a fusion reads; None if it reads the whole."""
    users = [i for i in fused.values() if parameter in i.operands]
    slices = [i for i in users if i.opcode in ("slice", "dynamic-slice", "gather") and i.operands[0] == parameter]
    updates = [i for i in users if i.opcode == "dynamic-update-slice" and i.operands[0] == parameter]
    if len(slices) + len(updates) < len(users) or not users:
        return None
    return [i.arrays[0] for i in slices]


def _written(module: Module, body: dict[str, Instruction], made: Instruction) -> tuple[float, float]:
    """Return the bytes of results in HBM, physical and logical; for an update in place, those of the update."""
    results = made.arrays
    if made.opcode == "copy-start":  # (result, operand, context)
        results = results[:1]
    elif made.opcode in ("slice-start", "all-gather-start", "collective-permute-start"):  # (operand, result, ...)
        results = results[1:2]
    elif made.opcode == "dynamic-update-slice":
        results = [a._replace(space=results[0].space) for a in body[made.operands[1]].arrays]
    elif made.opcode == "fusion":
        fused = module.computations[made.called[0]]
        root = next((i for i in fused.values() if i.is_root), None)
        if root is not None and root.opcode == "dynamic-update-slice" and root.operands[1] in fused:
            results = [a for a in fused[root.operands[1]].arrays if all(map(_in_hbm, made.arrays))]
    kept = [a for a in results if _in_hbm(a)]
    return sum(a.physical for a in kept), sum(a.logical for a in kept)


def _sent(module: Module, body: dict[str, Instruction], made: Instruction) -> float:
    """Return the bytes that a ring algorithm sends over one link in one direction."""
    if not any(made.opcode.startswith(name) for name in _COLLECTIVES) or made.opcode.endswith("-done"):
        return 0.0
    operands = sum(a.logical for name in made.operands if name in body for a in body[name].arrays)
    if made.opcode.startswith(_SENT_WHOLE):
        return operands
    n = _group(made.text, module.partitions)
    share = (n - 1) / n
    if made.opcode.startswith("all-reduce"):
        return 2 * share * operands
    return share * operands * (n if made.opcode.startswith("all-gather") else 1)


def _group(text: str, partitions: int) -> int:
    """Return how many devices take part in one group of a collective."""
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return max(1, len(found[1].split(",")))
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", text):
        return int(found[2])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", text):
        sizes = dict(axis.split("=") for axis in found[1].split(","))
        return math.prod(int(sizes[axis.strip()]) for axis in found[2].split(","))
    return partitions
