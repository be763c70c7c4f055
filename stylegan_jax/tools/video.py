"""Make a video: `python -m stylegan_jax.tools.video --model=DIR --path=rotate --seeds=3 --out=rotate.mp4`.

Every path is a loop, so the video can be played round and round. Frames are drawn in chunks of one size, by one
compiled program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.runtime import records
from stylegan_jax.tools import _inputs as inputs, _runner as runner

PATHS = ("latent", "translate", "rotate")


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.video", description=(__doc__ or "").split("\n")[0])
    inputs.add_arguments(p)
    p.add_argument(
        "--out", required=True, metavar="FILE", help=".mp4 (needs PyAV), .webp or .gif; without ending: best"
    )
    p.add_argument(
        "--path",
        choices=PATHS,
        default="latent",
        help="latent: from seed to seed (default); translate, rotate: each seed on a canvas that moves (StyleGAN3)",
    )
    p.add_argument("--seeds", default="0-3", help="in this order, such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--styles", metavar="FILES", help=inputs.STYLES)
    p.add_argument("--frames", type=int, default=60, help="per seed (default: %(default)s)")
    p.add_argument("--fps", type=float, default=30.0, help="frames per second (default: 30)")
    p.add_argument(
        "--space",
        choices=("w", "z"),
        default="w",
        help="latent: cubic spline through the styles w (default), or great circles through the latents z",
    )
    p.add_argument(
        "--radius", type=float, default=0.125, help="translate: of the circle, in image heights (default: %(default)s)"
    )
    p.add_argument("--grid", default="1x1", metavar="CxR", help="columns x rows; the seeds are dealt to the cells")
    p.add_argument("--noise", choices=("const", "none"), default="const", help="default: const")
    return p


def check(args: argparse.Namespace, seeds: Sequence[int] | None) -> None:
    """Check the numbers that the paths need; the seeds too, unless styles take their place.

    Raises:
        ValueError: a value that breaks a rule.
    """
    if args.frames < 1:
        raise ValueError(f"--frames={args.frames} must be at least 1")
    if args.styles is not None and args.space == "z":
        raise ValueError("--styles are no latents; leave --space=z out")
    if args.styles is not None:
        inputs.check_unused(parser(), args, ("seeds", "psi", "cutoff", "classes", "label"), "with --styles")
    if not np.isfinite(args.radius):
        raise ValueError(f"--radius={args.radius}: write a number, such as 0.125")
    if seeds is not None:
        keyframes(args, seeds)


def keyframes(args: argparse.Namespace, seeds: Sequence[int]) -> tuple[int, int, np.ndarray]:
    """Return (rows, columns, seeds int[cells, k]) of the grid: each cell goes through k seeds of its own.

    Raises:
        ValueError: the grid is not of the form 3x2 or does not divide the seeds.
    """
    parts = args.grid.split("x")
    if len(parts) != 2 or not all(x.isascii() and x.isdecimal() and len(x) < 10 and int(x) for x in parts):
        raise ValueError(f"--grid={args.grid}: write COLUMNSxROWS, such as 3x2")
    columns, rows = map(int, parts)
    count, rest = divmod(len(seeds), columns * rows)
    if rest or not count:
        raise ValueError(f"--grid={args.grid} has {columns * rows} cells; {len(seeds)} seeds are no multiple of it")
    if args.path == "latent" and count < 2 and args.styles is not None:
        raise ValueError(f"--styles={args.styles} has one style per cell; --path=latent goes from one to the next")
    if args.path == "latent" and count < 2:
        raise ValueError(
            f"--seeds={args.seeds} is one seed per cell; --path=latent goes from seed to seed, such as --seeds=0-"
            f"{4 * columns * rows - 1}"
        )
    return rows, columns, np.asarray(seeds).reshape(-1, count)


def frames(
    model: Any, seeds: list[int], args: argparse.Namespace, ws: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames uint8[rows * h, columns * w, c]: keyframes per cell times args.frames.

    With --styles, `seeds` are the numbers of styles ws float32[n, l, w]; None: to be read.
    """
    from stylegan_jax.base import images
    from stylegan_jax.sampling import paths

    rows, columns, own = keyframes(args, seeds)
    if args.styles is not None and ws is None:
        ws = inputs.read_styles(args.styles, model.gan.spec)
    labels = inputs.labels(model, args) if ws is None else np.zeros((1, 0), np.float32)
    if args.path != "latent":
        inputs.check_moves(model, f"--path={args.path}")
    if len(labels) > own.shape[1]:
        raise ValueError(
            f"--class={args.classes}: {len(labels)} classes for {own.shape[1]} seeds per cell; use more seeds"
        )
    names = ("path", "space", "frames", "radius", "psi", "cutoff", "noise")
    options = {name: getattr(args, name) for name in names} | {"chunk": args.batch}
    turns = labels[np.arange(own.shape[1]) % len(labels)] if labels.shape[1] else None
    cells = [paths.loop(model, some, turns, styles=None if ws is None else ws[some], **options) for some in own]
    for pictures in zip(*cells, strict=True):
        yield images.make_grid(np.stack(pictures), columns) if rows * columns > 1 else pictures[0]


def act(args: argparse.Namespace) -> str:
    """Make the video; return the sentence to print."""
    from stylegan_jax.tools import _video_file as video_file

    seeds = inputs.parse_seeds(args.seeds)
    check(args, seeds if args.styles is None else None)
    out = video_file.choose(Path(args.out), args.fps)
    model, ws = inputs.load(args), None
    if args.styles is not None:
        ws = inputs.read_styles(args.styles, model.gan.spec)
        seeds = list(range(len(ws)))
    total = keyframes(args, seeds)[2].shape[1] * args.frames
    count = video_file.write(out, iter(records.progress(frames(model, seeds, args, ws), total, "frame")), args.fps)
    runner.write_record(out.with_name(out.name + ".json"), runner.record(args, model))
    return f"{count} frames, {count / args.fps:.1f} s, in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
