"""The record of `--target`, as text: programs, kinds of operation, the most expensive steps, images per second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stylegan_jax.tools.benchmark.programs import GIB

COLUMNS = (
    *("computed", "GFLOP", "GB", "arithmetic ms", "memory ms", "links ms", "larger", "in order", "compiler"),
    *("padding: units", "bytes", "GiB", "bound by", "img/s at most"),
)
WHY = (
    "computed, nothing was executed; all numbers are per chip. GFLOP: products and convolutions; GB: to and from HBM "
    "with padding; larger: the largest of the three times at the chip's peaks; in order: each instruction takes its "
    "largest time, none overlap; compiler: its own estimate in cycles; padding: of the matrix units (at least), and of "
    "bytes; GiB: arguments and temporaries; bound by: the largest time; img/s at most: what no "
    "implementation of these products can exceed"
)


def text(record: Mapping[str, Any]) -> str:
    """Return the record as text, with every number marked as computed."""
    config, versions = record["config"], record["versions"]
    model = config["model"]
    lines = [
        f"{config['name']}: {model['arch']} at {model['resolution']}, batch {config['train']['batch_size']}, "
        f"{record['compute_dtype']}, compiled for {record['devices']} x TPU {record['target']}, "
        f"effort {record['effort']:g}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        WHY,
        "",
        *_table([COLUMNS, *(_row(name, cost) for name, cost in record["programs"].items())]),
        "",
        *_table(_kinds(record["programs"])),
    ]
    for name, cost in record["programs"].items():
        lines += ["", f"{name}: the most expensive of its instructions (computed)", *_table(_top(cost))]
    return "\n".join([*lines, "", *_rates(record)])


def _row(name: str, cost: Mapping[str, Any]) -> list[str]:
    s = cost["seconds"]
    compiler = cost["compiler_seconds"]
    memory = cost["memory"]
    return [
        name,
        _short(cost["flops"] / 1e9),
        _short(cost["bytes"] / 1e9),
        *(_ms(s[part]) for part in ("arithmetic", "memory", "communication", "larger", "in_order")),
        "-" if compiler is None else _ms(compiler),
        *(f"{100 * cost['padding'][part]:.0f} %" for part in ("arithmetic", "memory")),
        f"{memory['peak'] / GIB:.2f}" if memory else "-",
        cost["bound_by"],
        _short(cost["images"] / s["least"]),
    ]


def _kinds(programs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    kinds = list(next(iter(programs.values()))["kinds"])
    rows = [["computed share of in order", *kinds]]
    for name, cost in programs.items():
        rows.append([name, *(f"{100 * cost['kinds'][kind]['share']:.0f} %" for kind in kinds)])
    return rows


def _top(cost: Mapping[str, Any]) -> list[list[str]]:
    rows = [["ms", "GFLOP", "GB", "kind", "result", "source"]]
    for step in cost["top"]:
        where = " < ".join(step["source"]) or step["operation"]
        numbers = [_ms(step["seconds"]), _short(step["flops"] / 1e9), _short(step["bytes"] / 1e9)]
        rows.append([*numbers, step["kind"], step["result"], where])
    return rows


def _rates(record: Mapping[str, Any]) -> list[str]:
    lines = [f"computed: {cost['does_not_fit']}" for cost in record["programs"].values() if cost["does_not_fit"]]
    if "train" in record:
        t = record["train"]
        rate, n = t["img_per_sec"], record["devices"]
        alone = f"{_short(rate['in_order'])} if nothing overlaps{_by_cycles(rate)}"
        lines.append(
            f"computed: training takes {_ms(t['seconds']['larger'])} ms per iteration, mostly {t['bound_by']}. As "
            f"compiled, it cannot exceed {_short(rate['larger'])} img/s on {n} chip{'s' * (n > 1)} ({alone}); no "
            f"implementation of these products can exceed {_short(rate['least'])}"
        )
    for name, cost in record["programs"].items():
        if cost["kind"] == "sample":
            largest, least = (_short(cost["images"] / cost["seconds"][key]) for key in ("larger", "least"))
            lines.append(
                f"computed: {name} cannot exceed {largest} img/s as compiled; no implementation of these products can "
                f"exceed {least}; mostly {cost['bound_by']}"
            )
    return lines


def _by_cycles(rate: Mapping[str, float]) -> str:
    return f", {_short(rate['compiler'])} by the compiler's cycles" if "compiler" in rate else ""


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = {i for i, head in enumerate(rows[0]) if head in ("kind", "result", "source") or (i == 0 and head != "ms")}
    cell = lambda row, i: row[i].ljust(widths[i]) if i in left else row[i].rjust(widths[i])
    return ["  ".join(cell(row, i) for i in range(len(row))).rstrip() for row in rows]


def _ms(seconds: float) -> str:
    return _short(1000 * seconds)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
