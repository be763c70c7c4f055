"""The record of a benchmark, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BUSY = 0.05
COLUMNS = ("program", "images", "trace s", "compile s", "ms", "(min-max)", "GFLOP", "of peak", "GB", "of copy", "MiB")


def table(record: Mapping[str, Any]) -> str:
    """Return the results as text: the machine, one row per program, the rates, the data."""
    lines = [*_machine(record)]
    if "programs" in record:
        lines += ["", *_programs(record), ""]
        lines += _train(record) if "train" in record else []
        lines += _sample(record)
    if "data" in record:
        lines += ["", *_data(record)]
    return "\n".join(lines).rstrip()


def _machine(record: Mapping[str, Any]) -> list[str]:
    m, c = record["machine"], record["config"]
    model = c["model"]
    width = model["resolution"] * model["base_size"][1] // model["base_size"][0]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    lines = [
        f"{c['name']}: {model['arch']} {model['resolution']}x{width}x{model['img_channels']}, batch "
        f"{c['train']['batch_size']}, {record['compute_dtype']}; {record['date']}",
        f"{m['devices']} x {m['device_kind']} ({m['platform']}); {m['cpu']}, {m['cores']} cores; {versions}",
    ]
    if (record.get("other_work") or 0) > BUSY:
        lines.append(
            f"the machine was busy: other work took {100 * record['other_work']:.0f} % of its CPUs; times are too long"
        )
    if "parameters" in record:
        lines.append("parameters: " + ", ".join(f"{name} {size:,d}" for name, size in record["parameters"].items()))
    if "peaks" in record:
        p = record["peaks"]
        lines.append(
            f"measured peaks of one device: {p['matmul_flops'] / 1e9:,.0f} GFLOP/s ({p['dtype']} matrix product), "
            f"{p['copy_bytes'] / 1e9:,.1f} GB/s (copy of {p['copy_size'] / 2**20:.0f} MiB)"
        )
    return lines


def _programs(record: Mapping[str, Any]) -> list[str]:
    rows = [list(COLUMNS)]
    for name, cost in record["programs"].items():
        row = [name, str(cost["images"]), f"{cost['trace_lower_seconds']:.1f}", f"{cost['compile_seconds']:.1f}"]
        if "ms" in cost:
            ms = cost["ms"]
            row += [_short(ms["median"]), f"({_short(ms['min'])}-{_short(ms['max'])})"]
        else:
            row += ["-", ""]
        row += [_short(cost["flops"] / 1e9), _percent(cost, "fraction_of_matmul")]
        row += [_short(cost["bytes_accessed"] / 1e9), _percent(cost, "fraction_of_copy")]
        row.append(_short(cost["memory"]["peak"] / 2**20) if "memory" in cost else "-")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    cold = all(cost["compile_cold"] for cost in record["programs"].values())
    lines.append(
        f"compile s: {'cold, one after the other' if cold else 'programs may come from the cache'}; GFLOP: of the "
        "program as written, all devices; GB, MiB: by the compiler, per device"
    )
    return lines


def _train(record: Mapping[str, Any]) -> list[str]:
    t = record["train"]
    shares = {n: c["runs_per_step"] for n, c in record["programs"].items() if c["kind"] == "train"}
    terms = " + ".join(n if share == 1 else f"{n}/{round(1 / share)}" for n, share in shares.items())
    return [
        f"training: {_short(t['img_per_sec_cadence'])} img/s from the programs ({terms}); "
        f"{_range(t['img_per_sec_loop'])} img/s in a loop of {t['loop_steps']} iterations, batch on the device"
    ]


def _sample(record: Mapping[str, Any]) -> list[str]:
    return [
        f"sampling, batch {cost['images']}: {_short(cost['img_per_sec'])} img/s; mapping and synthesis, noise "
        f"{record['noise']}, each call waited for, images left on the device"
        for cost in record["programs"].values()
        if cost["kind"] == "sample" and "ms" in cost
    ]


def _data(record: Mapping[str, Any]) -> list[str]:
    lines = []
    for row in record["data"]:
        head = f"data, cache {row['cache']}" + (f" ({row['way']})" if "way" in row else "")
        if "skipped" in row:
            lines.append(f"{head}: not measured: {row['skipped']}")
            continue
        clips = ""
        if "clip_per_sec" in row:
            clips = f"{_range(row['clip_per_sec'])} clips/s of {row['frames']} frames, "
        lines.append(
            f"{head}: {clips}{_range(row['img_per_sec'])} img/s, batch {row['batch']}, "
            f"{row['num_images']} images; opened in {row['open_seconds']:.1f} s, first batch after "
            f"{row['first_batch_seconds']:.1f} s"
        )
    return lines


def _short(value: float) -> str:
    """Return three significant digits, or all digits before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _range(values: Mapping[str, float]) -> str:
    return f"{_short(values['median'])} ({_short(values['min'])}-{_short(values['max'])})"


def _percent(cost: Mapping[str, Any], key: str) -> str:
    return f"{100 * cost[key]:.0f} %" if key in cost else "-"
