"""A pickle machine that builds plain data and never calls, imports or looks up anything.

Python's own unpicklers call whatever a file names. Here every opcode is implemented below, containers are plain, and
the opcodes that could run code (GLOBAL, REDUCE, NEWOBJ, BUILD) ask a `World`, which returns records. Untrusted input
cannot exhaust time or memory: opcodes (including those of nested pickles), items that calls copy, string sizes and
total bytes are bounded, keys of dicts and sets are short scalars (hashing nested tuples can take exponential time), and
nothing recurses.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any, Protocol

from stylegan_jax.inert.stream import Budget, RefusedError, Window

MAX_OPCODES = 1_000_000  # per machine; official files have some ten thousand per network
MAX_STRING = 1 << 26
MAX_LONG = 64  # bytes of an integer; official files need 11
MAX_OPEN_MARKS = 1000
INLINE_BYTES = 4096  # longer byte strings stay in the file, as a Window
MAX_KEY = 1 << 14  # characters; equal keys are compared in full
TUPLE_STEPS = 200  # cost of a key that is a tuple, because hashes of tuples can be made to collide

_SCALARS = (str, int, float, bool, type(None), bytes)


class World(Protocol):
    """Answers the machine's requests for names, calls and instances; every answer is inert data."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for `module.name`, or raise RefusedError."""

    def persistent_load(self, pid: Any) -> Any:
        """Return the object that `pid` names, or raise RefusedError."""

    def reduce(self, function: Any, args: Any) -> Any:
        """Return the record of a call."""

    def new(self, cls: Any, args: Any, kwargs: Any) -> Any:
        """Return the record of an instance creation."""

    def build(self, obj: Any, state: Any) -> Any:
        """Return `obj` with `state` recorded."""


def check_key(key: Any, budget: Budget) -> Any:
    """Return `key` if it may be a key of a dict or a member of a set.

    Raises:
        RefusedError: hashing or comparing it could be slow.
    """
    if isinstance(key, int) and not -(1 << 60) < key < 1 << 60:
        raise RefusedError("a key is a huge integer")
    if isinstance(key, str | bytes) and len(key) > MAX_KEY:
        raise RefusedError(f"a key is longer than {MAX_KEY} characters")
    if isinstance(key, tuple):
        budget.step(TUPLE_STEPS)
        if len(key) > 64 or not all(isinstance(k, _SCALARS) for k in key):
            raise RefusedError("a key is a nested tuple")
        for part in key:
            check_key(part, budget)
    elif not isinstance(key, _SCALARS) and not getattr(key, "is_stand_in", False):
        raise RefusedError(f"a key has the type {type(key).__name__}")
    return key


class Machine:
    """Runs one pickle after another from a window.

    Args:
        window: source of the opcodes.
        world: answers for names, calls and persistent ids.
        budget: charged with opcodes and with the bytes of strings.
    """

    def __init__(self, window: Window, world: World, budget: Budget):
        """Store the arguments; nothing is read yet."""
        self.window, self.world, self.budget = window, world, budget
        self.opcodes = 0
        self._reset()

    def _reset(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Run up to the next STOP and return the object left on the stack.

        Raises:
            RefusedError: the input needs something that official files do not, or exceeds a limit.
            EOFError, ValueError, IndexError, KeyError, struct.error: the input is damaged.
        """
        self._reset()
        read, table, budget = self.window.read, OPCODES, self.budget
        while (code := read(1)) != b".":
            self.opcodes += 1
            budget.steps -= 1
            if self.opcodes > MAX_OPCODES or budget.steps < 0:
                raise RefusedError(f"more than {MAX_OPCODES} opcodes")
            handler = table.get(code)
            if handler is None:
                raise RefusedError(
                    f"opcode {code!r} is not one that official files use; the file is damaged, or of another kind"
                )
            handler(self)
        result = self.stack.pop()
        self._reset()
        return result

    def pop_mark(self) -> list[Any]:
        """Return the items pushed since the last MARK."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def text(self, nbytes: int, encoding: str) -> str:
        """Read `nbytes` and decode them."""
        if nbytes > MAX_STRING:
            raise RefusedError(f"a string of {nbytes} bytes")
        self.budget.charge(4 * nbytes)
        return self.window.read(nbytes).decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def blob(self, nbytes: int) -> bytes | Window:
        """Read `nbytes`; long strings stay in the file, as a Window."""
        return self.window.read(nbytes) if nbytes <= INLINE_BYTES else self.window.split(nbytes)


def _push(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    """Return the handler that pushes `value(machine)`."""

    def handler(m: Machine) -> None:
        m.stack.append(value(m))

    return handler


def _refuse(why: str) -> Callable[[Machine], None]:
    """Return the handler that raises RefusedError."""

    def handler(m: Machine) -> None:
        raise RefusedError(why)

    return handler


def _proto(m: Machine) -> None:
    if m.window.unsigned(1) > 5:
        raise RefusedError("unknown pickle protocol")


def _frame(m: Machine) -> None:
    if m.window.unsigned(8) > m.window.remaining:
        raise EOFError("a frame is longer than the file")


def _mark(m: Machine) -> None:
    if len(m.marks) >= MAX_OPEN_MARKS:
        raise RefusedError("nested too deeply")
    m.marks.append(m.stack)
    m.stack = []


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _pop_to_mark(m: Machine) -> None:
    m.pop_mark()


def _int_line(m: Machine) -> int | bool:
    line = m.window.line(80)
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.removesuffix(b"L"))


def _float_line(m: Machine) -> float:
    return float(m.window.line(80))


def _long(width: int) -> Callable[[Machine], int]:
    def value(m: Machine) -> int:
        nbytes = m.window.unsigned(width)
        if nbytes > MAX_LONG:
            raise RefusedError(f"an integer of {nbytes} bytes")
        return int.from_bytes(m.window.read(nbytes), "little", signed=True)

    return value


def _string_line(m: Machine) -> str:
    line = m.window.line(MAX_STRING)
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    m.budget.charge(4 * len(line))
    raw, _ = codecs.escape_decode(line[1:-1])  # type: ignore[attr-defined]
    return raw.decode("latin1")


def _unicode_line(m: Machine) -> str:
    line = m.window.line(MAX_STRING)
    m.budget.charge(4 * len(line))
    return line.decode("raw-unicode-escape")


def _py2_string(width: int) -> Callable[[Machine], str | Window]:
    def value(m: Machine) -> str | Window:
        nbytes = m.window.unsigned(width)
        return m.text(nbytes, "latin1") if nbytes <= INLINE_BYTES else m.window.split(nbytes)

    return value


def _tuple(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(tuple(items))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def handler(m: Machine) -> None:
        if len(m.stack) < count:
            raise IndexError("stack underflow")
        m.stack[-count:] = [tuple(m.stack[-count:])]

    return handler


def _list(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(items)


def _extend(m: Machine, items: list[Any]) -> None:
    target = m.stack[-1]
    if type(target) is list:
        target.extend(items)
    elif not getattr(target, "drops_items", False):
        raise RefusedError(f"appends to a {type(target).__name__}")


def _append(m: Machine) -> None:
    item = m.stack.pop()
    _extend(m, [item])


def _appends(m: Machine) -> None:
    _extend(m, m.pop_mark())


def _pairs_into(m: Machine, target: Any, items: list[Any]) -> None:
    if getattr(target, "drops_items", False):
        return
    if type(target) is not dict:
        raise RefusedError(f"sets items of a {type(target).__name__}")
    if len(items) % 2:
        raise ValueError("a key without a value")
    for i in range(0, len(items), 2):
        target[check_key(items[i], m.budget)] = items[i + 1]


def _dict(m: Machine) -> None:
    items, out = m.pop_mark(), {}
    _pairs_into(m, out, items)
    m.stack.append(out)


def _setitem(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _pairs_into(m, m.stack[-1], [key, value])


def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    _pairs_into(m, m.stack[-1], items)


def _additems(m: Machine) -> None:
    items, target = m.pop_mark(), m.stack[-1]
    if type(target) is set:
        target.update(check_key(item, m.budget) for item in items)
    elif not getattr(target, "drops_items", False):
        raise RefusedError(f"adds items to a {type(target).__name__}")


def _frozenset(m: Machine) -> None:
    items = m.pop_mark()
    m.stack.append(frozenset(check_key(item, m.budget) for item in items))


def _get(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def handler(m: Machine) -> None:
        m.stack.append(m.memo[index(m)])

    return handler


def _put(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def handler(m: Machine) -> None:
        m.memo[index(m)] = m.stack[-1]

    return handler


def _name(m: Machine) -> tuple[str, str]:
    return m.window.line(1024).decode(), m.window.line(1024).decode()


def _global(m: Machine) -> None:
    m.stack.append(m.world.find_class(*_name(m)))


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise RefusedError("a computed name")
    m.stack.append(m.world.find_class(module, name))


def _reduce(m: Machine) -> None:
    args, function = m.stack.pop(), m.stack.pop()
    if type(args) is not tuple:
        raise ValueError("arguments of a call are not a tuple")
    m.stack.append(m.world.reduce(function, args))


def _newobj(m: Machine) -> None:
    args, cls = m.stack.pop(), m.stack.pop()
    m.stack.append(m.world.new(cls, args, {}))


def _newobj_ex(m: Machine) -> None:
    kwargs, args, cls = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.stack.append(m.world.new(cls, args, kwargs))


def _inst(m: Machine) -> None:
    cls = m.world.find_class(*_name(m))
    args = tuple(m.pop_mark())
    m.stack.append(m.world.new(cls, args, {}))


def _obj(m: Machine) -> None:
    cls, *args = m.pop_mark()
    m.stack.append(m.world.new(cls, tuple(args), {}))


def _build(m: Machine) -> None:
    state, obj = m.stack.pop(), m.stack.pop()
    m.stack.append(m.world.build(obj, state))


def _size(width: int) -> Callable[[Machine], int]:
    return lambda m: m.window.unsigned(width)


OPCODES: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    b"(": _mark,
    b"0": _pop,
    b"1": _pop_to_mark,
    b"2": _push(lambda m: m.stack[-1]),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"I": _push(_int_line),
    b"L": _push(_int_line),
    b"F": _push(_float_line),
    b"J": _push(lambda m: struct.unpack("<i", m.window.read(4))[0]),
    b"K": _push(_size(1)),
    b"M": _push(_size(2)),
    b"\x8a": _push(_long(1)),
    b"\x8b": _push(_long(4)),
    b"G": _push(lambda m: struct.unpack(">d", m.window.read(8))[0]),
    b"S": _push(_string_line),
    b"T": _push(_py2_string(4)),
    b"U": _push(_py2_string(1)),
    b"V": _push(_unicode_line),
    b"\x8c": _push(lambda m: m.text(m.window.unsigned(1), "utf-8")),
    b"X": _push(lambda m: m.text(m.window.unsigned(4), "utf-8")),
    b"\x8d": _push(lambda m: m.text(m.window.unsigned(8), "utf-8")),
    b"C": _push(lambda m: m.blob(m.window.unsigned(1))),
    b"B": _push(lambda m: m.blob(m.window.unsigned(4))),
    b"\x8e": _push(lambda m: m.blob(m.window.unsigned(8))),
    b"\x96": _push(lambda m: m.blob(m.window.unsigned(8))),
    b")": _push(lambda m: ()),
    b"]": _push(lambda m: []),
    b"}": _push(lambda m: {}),
    b"\x8f": _push(lambda m: set()),
    b"t": _tuple,
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"l": _list,
    b"a": _append,
    b"e": _appends,
    b"d": _dict,
    b"s": _setitem,
    b"u": _setitems,
    b"\x90": _additems,
    b"\x91": _frozenset,
    b"g": _get(lambda m: int(m.window.line(20))),
    b"h": _get(_size(1)),
    b"j": _get(_size(4)),
    b"p": _put(lambda m: int(m.window.line(20))),
    b"q": _put(_size(1)),
    b"r": _put(_size(4)),
    b"\x94": _put(lambda m: len(m.memo)),
    b"c": _global,
    b"\x93": _stack_global,
    b"i": _inst,
    b"o": _obj,
    b"R": _reduce,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"b": _build,
    b"Q": _push(lambda m: m.world.persistent_load(m.stack.pop())),
    b"P": _refuse("a persistent id in text form"),
    b"\x82": _refuse("an extension-registry call"),
    b"\x83": _refuse("an extension-registry call"),
    b"\x84": _refuse("an extension-registry call"),
}
