"""Choose an average's length after training: `python -m stylegan_jax.tools.average --model=RUN --width=0.08 --out=DIR`.

The run needs `config.train.posthoc_ema`. `--width` writes an ordinary model folder. `--widths=0.02,0.05,0.1,0.2
--metric=fid5k` evaluates an average of each width and draws the curve.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.metrics import __main__ as metrics
from stylegan_jax.tools import _inputs as inputs, _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.average", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--model", required=True, help="workdir of a run with config.train.posthoc_ema")
    p.add_argument("--step", type=int, default=None, help="snapshot at which the averages end (default: the last)")
    text = "relative width: standard deviation of the average's weights, as a share of training; above 0, up to 0.288"
    p.add_argument("--width", type=float, default=None, help=text)
    p.add_argument("--widths", default="", metavar="X,Y,…", help="evaluate averages of these widths by --metric")
    p.add_argument("--metric", default="", metavar="NAME", help="a metric of docs/metrics.md, such as fid5k")
    inputs.add_output(p, "model folder (--width), or folder for sweep.jsonl, sweep.json and a curve (--widths)")
    metrics.add_options(p.add_argument_group("how --widths are evaluated"))
    return p


def act(args: argparse.Namespace) -> str:
    """Write a model or measure a sweep; return the sentence to print."""
    if (args.width is None) == (not args.widths):
        raise ValueError("pass exactly one of --width, such as --width=0.08, and --widths with --metric")
    if args.widths:
        return sweep(args)
    options = argparse.ArgumentParser()
    metrics.add_options(options)
    inputs.check_unused(parser(), args, ["metric", *vars(options.parse_args([]))], "without --widths")
    from stylegan_jax.convert.folder import check_replaceable
    from stylegan_jax.sampling.averages import average
    from stylegan_jax.sampling.export import export_model

    check_replaceable(args.out, args.overwrite)
    (model,) = average(args.model, [args.width], args.step)
    export_model(model, args.out, platforms=(), overwrite=args.overwrite)
    made = model.provenance["average"]
    return (
        f"average of width {args.width:g} after {model.provenance['nimg'] / 1000:g} kimg from {made['snapshots']} "
        f"snapshots (error of its profile {made['profile_error']:.2g}): model folder in {args.out}"
    )


def sweep(args: argparse.Namespace) -> str:
    """Evaluate an average of each width; return the sentence to print.

    Raises:
        ValueError: arguments do not fit together.
    """
    widths = sorted(set(inputs.parse_floats("--widths", args.widths)))
    if not args.metric or "," in args.metric:
        raise ValueError(f"--metric={args.metric!r}: --widths needs exactly one metric, such as --metric=fid5k")
    asked = argparse.Namespace(**vars(args), metrics=args.metric, data2="", channels=3)
    chosen = metrics.check(asked)
    from stylegan_jax.sampling.averages import average

    models = average(args.model, widths, args.step)
    path, out = runner.claim(Path(args.out), "sweep.json", args), Path(args.out)
    found: dict[str, list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context((out / "sweep.jsonl").open("w", encoding="utf-8"))
        for row in metrics.evaluate(asked, chosen, stack, models):
            made = row["model"]["provenance"]["average"]
            row = {key: made[key] for key in ("width", "profile_error")} | row
            print(json.dumps(row, allow_nan=False), file=file, flush=True)
            print(f"width {row['width']:g}: {row['metric']} {row['value']}", flush=True)
            found.setdefault(row["metric"], []).append(row)
    for name, rows in found.items():
        draw_curve(out / f"{name}.png", name, [row for row in rows if row["value"] is not None])
    runner.write_record(path, {"arguments": vars(args), "model": models[0].provenance})
    name, rows = next(iter(found.items()))
    known = [row for row in rows if row["value"] is not None]
    if not known:
        return f"no average has a finite {name}: sweep.jsonl in {out}"
    best = (max if chosen[0].metric.higher_is_better else min)(known, key=lambda row: row["value"])
    return (
        f"{name} is best at width {best['width']:g}, {best['value']:.4g}: sweep.jsonl and {name}.png in {out}; "
        f"--width={best['width']:g} writes that model"
    )


def draw_curve(path: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write a plot of a metric over the width, with its interval if there is one."""
    from stylegan_jax.base import images
    from stylegan_jax.sampling import plot

    if not rows:
        return
    x = np.array([row["width"] for row in rows])
    lines = {name: (x, np.array([row["value"] for row in rows]))}
    if all(row["interval"] for row in rows):
        ends = np.array([row["interval"] for row in rows])
        lines |= {"95 % from": (x, ends[:, 0]), "to": (x, ends[:, 1])}
    y_ticks = plot.ticks(*(f(np.concatenate([y for _, y in lines.values()])) for f in (np.min, np.max)))
    x_ticks = plot.ticks(0.0, x.max())
    axes = plot.Axes((0, x_ticks[-1]), (y_ticks[0], y_ticks[-1]), x_ticks, y_ticks, "relative width", "")
    images.save_png(path, plot.draw_lines(f"{name} by the width of the average", lines, axes))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
