"""The roofline of a compiled program: times at a chip's peaks, padding, shares by kind, the most expensive steps.

A roofline is a bound (Williams et al. 2009): a program takes at least its operations over the peak rate of the matrix
unit, and at least its bytes over the memory's rate. It counts neither arithmetic outside matrix products nor latencies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stylegan_jax.roofline.chips import Chip
from stylegan_jax.roofline.costs import KINDS, Cost, Step, steps
from stylegan_jax.roofline.hlo import Module

TOP = 10
PARTS = ("arithmetic", "memory", "communication")


def program(module: Module, chip: Chip) -> dict[str, Any]:
    """Return the cost of a program on each device of a slice, as plain values.

    Returns:
        flops, flops_padded: of products and convolutions, without and with the padding of the matrix unit.
        bytes, bytes_logical: to and from HBM, with and without the padding of layouts.
        bytes_least: arguments and results, each once, which any implementation moves.
        bytes_sent: over one link in one direction.
        seconds: by `PARTS` at the chip's peaks; 'larger': the largest of these; 'in_order': if every instruction takes
            the largest of its own parts, and none overlap; 'least': the largest, with only `bytes_least`.
        bound_by: the part that takes the longest.
        padding: the share of 'arithmetic' and 'memory' that is padding, 0 to 1.
        cycles: the compiler's own estimate; as `compiler_seconds` if the chip's clock is known.
        kinds: {kind: seconds in order, share of them, bytes, flops, cycles}.
        top: the `TOP` most expensive instructions, sorted by seconds, with their place in the source.
    """
    done = list(steps(module, chip))
    total = lambda field: sum(step.times * getattr(step.cost, field) for step in done)
    flops, padded, moved, sent = (total(field) for field in ("flops", "padded", "moved", "sent"))
    logical, cycles = total("logical"), total("cycles")
    seconds = _seconds(Cost("", flops=flops, read=moved, sent=sent), chip)
    in_order = sum(step.times * _larger(step.cost, chip) for step in done)
    least = _least_bytes(module)
    larger = max(seconds.values())
    bound = max(seconds["arithmetic"], least / chip.bandwidth, seconds["communication"])
    return {
        "flops": flops,
        "flops_padded": padded,
        "bytes": moved,
        "bytes_logical": logical,
        "bytes_least": least,
        "bytes_sent": sent,
        "seconds": seconds | {"larger": larger, "in_order": in_order, "least": bound},
        "bound_by": max(seconds, key=lambda part: seconds[part]),
        "padding": {"arithmetic": _waste(flops, padded), "memory": _waste(logical, moved)},
        "cycles": cycles,
        "compiler_seconds": cycles / chip.clock if chip.clock else None,
        "kinds": {kind: _kind([s for s in done if s.cost.kind == kind], in_order, chip) for kind in KINDS},
        "top": [
            _described(module, s, chip) for s in sorted(done, key=lambda s: -s.times * _larger(s.cost, chip))[:TOP]
        ],
    }


def iteration(programs: Mapping[str, Mapping[str, Any]], per_step: Mapping[str, float], images: int) -> dict[str, Any]:
    """Return the seconds of one training iteration and the images per second that they allow.

    Args:
        programs: {name: record of `program`}.
        per_step: how often each runs per iteration.
        images: shown per iteration, over all devices.

    Returns:
        seconds: 'larger', 'in_order' and 'least', as in `program`, and 'compiler' (None: the clock is unknown).
        img_per_sec: the same as rates. No implementation is faster than 'least', and this program not than 'larger'.
        bytes, flops, bound_by: per iteration, and the part that takes the longest.
    """
    total = lambda read: sum(per_step[name] * read(record) for name, record in programs.items())
    seconds: dict[str, float | None] = {
        name: total(lambda r, name=name: r["seconds"][name]) for name in ("larger", "in_order", "least", *PARTS)
    }
    known = all(r["compiler_seconds"] is not None for r in programs.values())
    seconds["compiler"] = total(lambda r: r["compiler_seconds"]) if known else None
    rates = {name: images / s for name, s in seconds.items() if s and name not in PARTS}
    return {
        "seconds": seconds,
        "img_per_sec": rates,
        "bytes": total(lambda r: r["bytes"]),
        "flops": total(lambda r: r["flops"]),
        "bound_by": max(PARTS, key=lambda part: seconds[part] or 0.0),
    }


def _seconds(cost: Cost, chip: Chip) -> dict[str, float]:
    return dict(zip(PARTS, (cost.flops / chip.flops, cost.moved / chip.bandwidth, cost.sent / chip.link), strict=True))


def _larger(cost: Cost, chip: Chip) -> float:
    return max(_seconds(cost, chip).values())


def _waste(useful: float, whole: float) -> float:
    return 1 - useful / whole if whole else 0.0


def _least_bytes(module: Module) -> float:
    """Return the bytes of a program's arguments and results, without padding."""
    body = module.computations[module.entry].values()
    ends = [i for i in body if i.opcode == "parameter" or i.is_root]
    return sum(a.logical for i in ends for a in i.arrays)


def _kind(own: Sequence[Step], in_order: float, chip: Chip) -> dict[str, float]:
    seconds = sum(s.times * _larger(s.cost, chip) for s in own)
    return {
        "seconds": seconds,
        "share": seconds / in_order if in_order else 0.0,
        "bytes": sum(s.times * s.cost.moved for s in own),
        "flops": sum(s.times * s.cost.flops for s in own),
        "cycles": sum(s.times * s.cost.cycles for s in own),
    }


def _described(module: Module, step: Step, chip: Chip) -> dict[str, Any]:
    made, cost = step.instruction, step.cost
    operation = re.search(r'op_name="([^"]*)"', made.text)
    return {
        "name": made.name,
        "kind": cost.kind,
        "times": step.times,
        "seconds": step.times * _larger(cost, chip),
        "flops": step.times * cost.flops,
        "bytes": step.times * cost.moved,
        "cycles": step.times * cost.cycles,
        "operation": operation[1] if operation else " ".join(made.operands[:1]),
        "source": source_of(module, step.frame),
        "result": ", ".join(f"{a.dtype}[{','.join(map(str, a.dims))}]" for a in made.arrays[:3]),
    }


def source_of(module: Module, frame: int) -> list[str]:
    """Return 'file:line function' of frames of the package: the two innermost, and the first outside of ops/ beyond."""
    whole = list(module.stack(frame))
    own = [f for f in whole if "stylegan_jax/" in f.file] or whole
    named = {}  # by file and function, without the comprehensions and lambdas in it; the innermost line
    for f in own:
        file, function = f.file.rsplit("stylegan_jax/", 1)[-1], f.function.split(".<locals>")[0]
        named.setdefault((file, function), f"{file}:{f.line} {function}")
    places = list(named.values())
    return places[:2] + [place for place in places[2:] if not place.startswith("ops/")][:1]
