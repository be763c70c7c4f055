"""Optimised HLO, parsed from what XLA prints (`compiled.as_text()`): instructions, layouts with tiles, source lines.

Source: XLA's HLO grammar and its page on tiled layouts (openxla.org/xla/tiled_layout).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_BITS = {"pred": 8, "token": 0, "opaque": 0}
_LEAF = re.compile(r"([a-z]\w*)\[([^\]]*)\](?:\{([^}]*)\})?")
_HEAD = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\) -> .* \{$")
_LINE = re.compile(r"^\s+(ROOT )?%?(\S+) = ")
_ROW = re.compile(r"^(\d+) (.*)$")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


class Array(NamedTuple):
    """An array with its layout.

    Attributes:
        dtype: XLA's name, such as 'bf16'.
        dims: logical extents.
        order: axes, starting with the one that changes fastest.
        tile: sides, of the last axes in memory, to which extents are rounded up; () for none. Tiles of tiles add no
            padding.
        space: memory space: 0 is HBM, others are on the chip.
    """

    dtype: str
    dims: tuple[int, ...]
    order: tuple[int, ...]
    tile: tuple[int, ...]
    space: int

    @property
    def width(self) -> float:
        """Bytes of an element."""
        found = re.search(r"\d+", self.dtype)
        return _BITS.get(self.dtype, int(found[0]) if found else 0) / 8

    @property
    def logical(self) -> float:
        """Bytes without padding."""
        return math.prod(self.dims) * self.width

    @property
    def physical(self) -> float:
        """Bytes with the padding of its tile."""
        extents = [self.dims[axis] for axis in reversed(self.order)] or [1]
        for place, side in enumerate(reversed(self.tile), 1):
            if place > len(extents):
                extents.insert(0, 1)
            extents[-place] = -(-extents[-place] // side) * side
        return math.prod(extents) * self.width


class Instruction(NamedTuple):
    """A line of a computation.

    Attributes:
        name: without '%'.
        opcode: such as 'fusion'.
        arrays: the leaves of its result.
        operands: names; for a parameter its number, for a constant its value.
        text: everything after the operands.
        is_root: whether it is the computation's result.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str
    is_root: bool

    @property
    def called(self) -> list[str]:
        """Names of the computations that it runs: a fusion's, a loop's body and condition, or all branches."""
        keys = r"(?:calls|body|condition|branch_computations|true_computation|false_computation)"
        found = re.findall(keys + r"=(\{[^}]*\}|%?[\w.\-]+)", self.text)
        names = [name.strip().lstrip("%") for group in found for name in group.strip("{}").split(",")]
        if self.opcode == "call" and (to := re.search(r"to_apply=%?([\w.\-]+)", self.text)):
            names.append(to[1])
        return names

    @property
    def frame(self) -> int:
        """Number of its stack frame; 0: unknown."""
        found = re.search(r"stack_frame_id=(\d+)", self.text)
        return int(found[1]) if found else 0


class Frame(NamedTuple):
    """A place in the source, and the frame that called it (0: none)."""

    file: str
    line: int
    function: str
    parent: int


class Module:
    """A parsed program.

    Attributes:
        computations: {name: {instruction's name: instruction}}, in the order in which they run.
        entry: name of the computation that runs first.
        partitions: number of devices that the program is split over.
        frames: {number: `Frame`}.
    """

    def __init__(self, partitions: int):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry, self.partitions = "", partitions
        self.frames: dict[int, Frame] = {}

    def stack(self, frame: int) -> Iterator[Frame]:
        """Yield the frames from the innermost outwards."""
        seen = set()
        while frame in self.frames and frame not in seen:
            seen.add(frame)
            yield self.frames[frame]
            frame = self.frames[frame].parent


def parse(text: str) -> Module:
    """Parse the text of an optimised, scheduled program.

    Raises:
        ValueError: the text has no entry computation.
    """
    found = re.search(r"num_partitions=(\d+)", text[: text.find("\n")])
    module = Module(int(found[1]) if found else 1)
    tables: dict[str, dict[int, str]] = {name: {} for name in _TABLES}
    table, current = None, None
    for line in text.split("\n"):
        if line in tables:
            table = tables[line]
        elif table is not None and (row := _ROW.match(line)):
            table[int(row[1])] = row[2]
        elif head := _HEAD.match(line):
            table, current = None, module.computations.setdefault(head[1], {})
            if line.startswith("ENTRY"):
                module.entry = head[1]
        elif current is not None and (start := _LINE.match(line)):
            made = _instruction(line[start.end() :], start[2], bool(start[1]))
            current[made.name] = made
    if not module.entry:
        raise ValueError("the text has no ENTRY computation: it is not the HLO of a compiled program")
    module.frames = _frames(tables)
    return module


def _instruction(rest: str, name: str, is_root: bool) -> Instruction:
    end = _closing(rest, 0) if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    end = _closing(rest, len(opcode))
    inside = rest[len(opcode) + 1 : end - 1]
    operands = [inside] if opcode in ("parameter", "constant") else re.findall(r"%([\w.\-]+)", inside)
    return Instruction(name, opcode, arrays(shape), tuple(operands), rest[end:], is_root)


def _closing(text: str, start: int) -> int:
    """Return the place after the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return len(text)


def arrays(shape: str) -> tuple[Array, ...]:
    """Return the leaves of a shape such as `(bf16[8,3]{1,0:T(8,128)(2,1)S(1)}, u32[])`."""
    return tuple(_array(*found.groups(default="")) for found in _LEAF.finditer(re.sub(r"/\*.*?\*/", "", shape)))


def _array(dtype: str, dims: str, layout: str) -> Array:
    extents = tuple(int(d.strip("<= ")) for d in dims.split(",") if d.strip())
    order, _, rest = layout.partition(":")
    axes = tuple(int(a) for a in order.split(",") if a.strip())
    tile, space = re.search(r"T\(([\d,]+)\)", rest), re.search(r"S\((\d+)\)", rest)
    return Array(
        dtype,
        extents,
        axes if len(axes) == len(extents) else tuple(reversed(range(len(extents)))),
        tuple(map(int, tile[1].split(","))) if tile else (),
        int(space[1]) if space else 0,
    )


def _frames(tables: dict[str, dict[int, str]]) -> dict[int, Frame]:
    number = lambda text, key: int(found[1]) if (found := re.search(rf"\b{key}=(\d+)", text)) else 0
    name = lambda table, key: tables[table].get(key, "").strip('"')
    frames = {}
    for key, text in tables["StackFrames"].items():
        place = tables["FileLocations"].get(number(text, "file_location_id"), "")
        file, function = number(place, "file_name_id"), number(place, "function_name_id")
        frames[key] = Frame(
            name("FileNames", file),
            number(place, "line"),
            name("FunctionNames", function),
            number(text, "parent_frame_id") - 1,  # XLA prints the parent's number plus one
        )
    return frames
