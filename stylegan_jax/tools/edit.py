"""Edit styles: `python -m stylegan_jax.tools.edit --model=DIR --method=sefa --layers=0-3 --seeds=0-3 --out=DIR`.

It finds directions in W (`--method`), or reads them from a file, and draws one grid per direction, with a row per seed
(or style of `--styles`) and a column per strength. docs/tools.md describes the methods and their sources.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.runtime import records
from stylegan_jax.sampling import directions, styles
from stylegan_jax.tools import _inputs as inputs, _runner as runner

METHODS = ("sefa", "ganspace", "boundary", "difference", "file")


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.edit", description=(__doc__ or "").split("\n")[0])
    inputs.add_arguments(p)
    inputs.add_still(p)
    inputs.add_output(p, "folder for direction00.png …, directions.npz and edit.json")
    p.add_argument(
        "--method",
        choices=METHODS,
        default="sefa",
        help="sefa: eigenvectors of the affine weights (default); ganspace: principal components of W; boundary: "
        "linear SVM between --positive and --negative; difference: between their means; file: --directions",
    )
    p.add_argument(
        "--count", type=int, default=5, help="number of directions of sefa and ganspace (default: %(default)s)"
    )
    p.add_argument("--samples", type=int, default=10_000, help="number of latents of ganspace (default: %(default)s)")
    p.add_argument(
        "--positive",
        metavar="FILES",
        help="styles as .npz or .npy, [n, w] or [n, slots, w], or folders of projections; several with commas",
    )
    p.add_argument("--negative", metavar="FILES", help="styles of the other group")
    p.add_argument(
        "--directions", metavar="FILE", help="directions.npz of an earlier call, or another .npy or .npz of [k, w]"
    )
    p.add_argument("--layers", default="all", help="slots to edit: coarse, middle, fine, all, or 0-3,7 (default: all)")
    p.add_argument("--strengths", default="-3,-1.5,0,1.5,3", help="numbers with commas (default: %(default)s)")
    p.add_argument("--seeds", default="0-3", help="seeds to edit, such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--styles", metavar="FILES", help=inputs.STYLES)
    return p


def check(args: argparse.Namespace) -> None:
    """Check that the files that a method needs are passed, and that every argument has an effect.

    Raises:
        ValueError: a file is missing, or an argument has no effect.
    """
    needs = {"boundary": ("positive", "negative"), "difference": ("positive", "negative"), "file": ("directions",)}
    for name in ("positive", "negative", "directions"):
        wanted = name in needs.get(args.method, ())
        if wanted != (getattr(args, name) is not None):
            raise ValueError(f"--method={args.method} {'needs' if wanted else 'does not use'} --{name}=FILE")
    if args.styles is not None:
        inputs.check_unused(parser(), args, ("seeds", "psi", "cutoff"), "with --styles")


def find(model: Any, layers: Sequence[int], label: Any, args: argparse.Namespace) -> directions.Directions:
    """Return the directions selected by the arguments; errors as in `directions`."""
    spec = model.gan.spec
    if args.method == "sefa":
        return directions.sefa(model, layers, args.count)
    if args.method == "ganspace":
        return directions.ganspace(model, label, args.count, args.samples)
    if args.method == "file":
        return directions.load(args.directions, spec.w_dim)
    groups = [styles.read_means(f"--{n}", getattr(args, n), spec) for n in ("positive", "negative")]
    return (directions.boundary if args.method == "boundary" else directions.difference)(*groups)


def styles_to_edit(model: Any, label: Any, args: argparse.Namespace) -> np.ndarray:
    """Return ws float32[n, l, w] of --styles, or of the seeds."""
    if args.styles is None:
        seeds = inputs.parse_seeds(args.seeds)
        return model.map(seeds, label, psi=args.psi, cutoff=args.cutoff, chunk=inputs.chunk(args, len(seeds)))
    return inputs.read_styles(args.styles, model.gan.spec)


def act(args: argparse.Namespace) -> str:
    """Find, draw; return the sentence to print."""
    from stylegan_jax.base import images

    check(args)
    strengths = inputs.parse_floats("--strengths", args.strengths)
    model = inputs.load(args)
    layers = inputs.parse_layers(args.layers, model)
    uses_label = args.styles is None or args.method == "ganspace"
    if not uses_label:
        inputs.check_label_unused(parser(), args, model)
    label = inputs.one_label(model, args) if uses_label else None
    ws, found = styles_to_edit(model, label, args), find(model, layers, label, args)
    model = inputs.as_images(model, args)
    out = Path(args.out)
    path = runner.claim(out, "edit.json", args)
    steps = found.vectors * found.unit[:, None]
    for i, step in enumerate(records.progress(steps, len(steps), "direction")):
        with np.errstate(over="ignore", invalid="ignore"):
            moved = styles.move(ws, step, layers, strengths).reshape(-1, *ws.shape[1:])
        if not np.isfinite(moved).all():
            raise ValueError(f"--strengths={args.strengths}: styles become infinite; use smaller numbers")
        pictures = model.stream(moved, chunk=inputs.chunk(args, len(moved)))
        pixels = np.concatenate([images.to_pixels(x) for x in pictures])
        images.save_png(out / f"direction{i:02d}.png", images.make_grid(pixels, len(strengths)))
    directions.save(out / "directions.npz", found)
    runner.write_record(path, runner.record(args, model, layers=layers, values=found.values.tolist()))
    return f"{len(steps)} directions, {len(ws)} pictures x {len(strengths)} strengths each, in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
