"""Make a video: `python -m stylegan_jax.tools.video --model=DIR --path=rotate --seeds=3 --out=rotate.mp4`.

Every path is a loop, so the video can be played round and round. Frames are drawn in chunks of one size, by one
compiled program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
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
    p.add_argument(
        "--styles", metavar="FILE", help="through these styles instead, .npz with 'w', [n, w] or [n, slots, w]"
    )
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


def check(args: argparse.Namespace, seeds: Sequence[int]) -> None:
    """Check the numbers that the paths need.

    Raises:
        ValueError: a value that breaks a rule.
    """
    if args.frames < 1:
        raise ValueError(f"--frames={args.frames} must be at least 1")
    if args.styles is not None and args.space == "z":
        raise ValueError("--styles are no latents; leave --space=z out")
    if args.styles is not None:
        inputs.refuse_unused(parser(), args, ("seeds", "psi", "cutoff", "classes", "label"), "with --styles")
    if not np.isfinite(args.radius):
        raise ValueError(f"--radius={args.radius}: write a number, such as 0.125")
    keyframes(args, seeds)


def slerp(z: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return float32[n, z] on the closed path of great circles through latents float[k, z]; t float[n] in [0, k)."""
    at = np.floor(t).astype(int)
    a, b, share = z[at % len(z)], z[(at + 1) % len(z)], (t - at)[:, None]
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    angle = np.arccos(np.clip(np.sum(unit(a) * unit(b), axis=1, keepdims=True), -1, 1))
    angle = np.maximum(angle, 1e-6)  # a seed that follows itself
    return ((np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)).astype(np.float32)


def spline(ws: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return t float[n] in [0, k) -> float32[n, l, w], the closed cubic spline through ws float[k, l, w]."""
    from scipy.interpolate import CubicSpline

    through = CubicSpline(np.arange(len(ws) + 1), np.concatenate([ws, ws[:1]]), bc_type="periodic")
    return lambda t: through(t).astype(np.float32)


def transforms(path: str, t: np.ndarray, radius: float, aspect: float) -> np.ndarray:
    """Return float32[n, 3, 3] for `Gan.with_transform`: one loop per whole step of t float[n].

    Args:
        path: 'translate', a circle about the centre that starts on the right and goes down; 'rotate', a turn
            counter-clockwise; anything else stays where it is.
        t: times.
        radius: of the circle, in image heights.
        aspect: width / height.
    """
    x, y, degrees = (np.zeros_like(t) for _ in range(3))
    if path == "translate":
        x, y = radius / aspect * np.cos(2 * np.pi * t), radius * np.sin(2 * np.pi * t)
    if path == "rotate":
        degrees = 360 * (t % 1)
    return np.stack([inputs.make_transform(*move, aspect) for move in zip(x, y, degrees, strict=True)])


def keyframes(args: argparse.Namespace, seeds: Sequence[int]) -> tuple[int, int, np.ndarray]:
    """Return (rows, columns, seeds int[cells, k]) of the grid: each cell goes through k seeds of its own.

    Raises:
        ValueError: the grid is not of the form 3x2 or does not divide the seeds.
    """
    parts = args.grid.split("x")
    if len(parts) != 2 or not all(x.isdigit() and int(x) for x in parts):
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


Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(styles [n, l, w], transforms [n, 3, 3]) -> pictures uint8[n, h, w, c]."""


def drawer(model: Any, args: argparse.Namespace) -> Draw:
    """Return what draws the frames of every cell, by one compiled program."""
    import jax

    from stylegan_jax.base import images
    from stylegan_jax.sampling.drawing import draw

    gan, g = model.gan, jax.device_put(model.g_ema)
    if args.path != "latent":
        inputs.transformable(model, f"--path={args.path}")

    @jax.jit
    def run(g, ws, transform):  # weights as arguments: as constants they would be folded, and compiled in
        return draw(gan, g, ws, noise=args.noise, transform=None if args.path == "latent" else transform)

    return lambda ws, transform: images.to_pixels(jax.device_get(run(g, ws, transform)))


def cell(model: Any, draw: Draw, seeds: np.ndarray, cond: np.ndarray, args: argparse.Namespace) -> Iterator[np.ndarray]:
    """Yield len(seeds) * args.frames frames, uint8[h, w, c], of one cell; labels float32[m, k] take turns."""
    from stylegan_jax.sampling import model as trained

    height, width, _ = model.gan.spec.image_shape
    given = None if args.styles is None else inputs.read_styles(args.styles, model.gan.spec)[seeds]
    z, cond = trained.latents(seeds, model.gan.spec.z_dim), cond[np.arange(len(seeds)) % len(cond)]
    to_styles = lambda z, cond: model.map(
        z, cond if cond.shape[1] else None, psi=args.psi, cutoff=args.cutoff, chunk=args.batch
    )
    if args.path == "latent" and args.space == "z":
        styles = lambda t: to_styles(slerp(z, t), blend(cond, t))
    else:
        keys = to_styles(z, cond) if given is None else given
        styles = spline(keys) if args.path == "latent" else lambda t: keys[np.floor(t).astype(int)]
    times = np.arange(len(seeds) * args.frames) / args.frames
    for t, n in trained.in_chunks(times, args.batch):
        yield from draw(styles(t), transforms(args.path, t, args.radius, width / height))[:n]


def blend(labels: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return float32[n, k] on the closed path of straight lines through labels float32[m, k]; t float[n] in [0, m)."""
    at = np.floor(t).astype(int)
    share = (t - at)[:, None]
    return ((1 - share) * labels[at % len(labels)] + share * labels[(at + 1) % len(labels)]).astype(np.float32)


def frames(model: Any, seeds: list[int], args: argparse.Namespace) -> Iterator[np.ndarray]:
    """Yield the frames uint8[rows * h, columns * w, c]: keyframes per cell times args.frames."""
    from stylegan_jax.base import images

    rows, columns, own = keyframes(args, seeds)
    labels = inputs.labels(model, args) if args.styles is None else np.zeros((1, 0), np.float32)
    draw = drawer(model, args)
    if len(labels) > own.shape[1]:
        raise ValueError(
            f"--class={args.classes}: {len(labels)} classes for {own.shape[1]} seeds per cell; use more seeds"
        )
    cells = [cell(model, draw, some, labels, args) for some in own]
    for pictures in zip(*cells, strict=True):
        yield images.make_grid(np.stack(pictures), columns) if rows * columns > 1 else pictures[0]


def act(args: argparse.Namespace) -> str:
    """Make the video; return the sentence to print."""
    from stylegan_jax.sampling.load import load_model
    from stylegan_jax.tools import _video_file as video_file

    seeds = inputs.parse_seeds(args.seeds)
    if args.styles is not None:  # numbers of styles in place of seeds
        seeds = list(range(inputs.count_styles(args.styles)))
    check(args, seeds)
    out = video_file.choose(Path(args.out), args.fps)
    model = load_model(args.model, args.step)
    total = keyframes(args, seeds)[2].shape[1] * args.frames
    count = video_file.write(out, iter(records.progress(frames(model, seeds, args), total, "frame")), args.fps)
    runner.write_record(out.with_name(out.name + ".json"), runner.record(args, model))
    return f"{count} frames, {count / args.fps:.1f} s, in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
