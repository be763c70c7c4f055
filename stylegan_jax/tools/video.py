"""Make a video: `python -m stylegan_jax.tools.video --model=DIR --path=rotate --seeds=3 --out=rotate.mp4`.

`--path=time` draws videos of any length with a model that was trained on videos. Every other path is a seamless loop.
Frames are drawn in fixed-size chunks by one compiled program.
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

PATHS = ("latent", "translate", "rotate", "time")
FPS = 30.0
"""Frame rate of loops, and of videos whose data had an unknown frame rate."""
MAX_STRIP = 4096
"""Largest number of frames in a PNG."""


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.video", description=(__doc__ or "").split("\n")[0])
    inputs.add_arguments(p)
    p.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=".mp4 (needs PyAV), .webp or .gif; without an ending, .mp4 if possible; with --path=time also .png, a row "
        "of frames per video",
    )
    p.add_argument(
        "--path",
        choices=PATHS,
        default="latent",
        help="latent: from seed to seed (default); translate, rotate: move each canvas (StyleGAN3); time: a "
        "video per seed (StyleGAN-V)",
    )
    p.add_argument("--seeds", default="0-3", help="seeds in order, such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--styles", metavar="FILES", help=inputs.STYLES)
    p.add_argument("--frames", type=int, default=60, help="frames per seed (default: %(default)s)")
    p.add_argument("--fps", type=float, default=None, help="frames per second (default: 30; for time that of the data)")
    p.add_argument("--speed", type=float, default=1.0, help="time: 0.5 is half as fast as the data (default: 1)")
    p.add_argument(
        "--start", type=float, default=0.0, help="time of the first frame, in frames of the data (default: 0)"
    )
    p.add_argument(
        "--motion_seeds",
        default=None,
        metavar="SEEDS",
        help="time: a grid with a row per motion and a column per seed (default: each seed with its own motion)",
    )
    p.add_argument(
        "--space",
        choices=("w", "z"),
        default="w",
        help="latent: cubic spline through the styles w (default), or great circles through the latents z",
    )
    p.add_argument(
        "--radius", type=float, default=0.125, help="translate: radius in image heights (default: %(default)s)"
    )
    p.add_argument(
        "--grid",
        default=None,
        metavar="CxR",
        help="columns x rows, which share the seeds (default: 1x1; with --path=time about square)",
    )
    p.add_argument("--noise", choices=("const", "none"), default="const", help="noise (default: const)")
    return p


def check(args: argparse.Namespace, seeds: Sequence[int] | None) -> None:
    """Check the numbers that the paths need, and the seeds unless styles replace them.

    Raises:
        ValueError: a value breaks a rule.
    """
    if args.frames < 1:
        raise ValueError(f"--frames={args.frames} must be at least 1")
    if args.styles is not None and args.space == "z":
        raise ValueError("--space=z needs latents, and --styles are not; leave --space out")
    if args.styles is not None:
        inputs.check_unused(parser(), args, ("seeds", "psi", "cutoff"), "with --styles")
    if not np.isfinite(args.radius):
        raise ValueError(f"--radius={args.radius}: write a number, such as 0.125")
    if not 0 <= args.start < np.inf:
        raise ValueError(f"--start={args.start:g} must be a number of frames from 0")
    if not 0 < args.speed < np.inf:
        raise ValueError(f"--speed={args.speed:g} must be a number above 0")
    if args.path == "time":
        inputs.check_unused(parser(), args, ("space", "radius", "noise"), "with --path=time")
    else:
        inputs.check_unused(parser(), args, ("speed",), f"with --path={args.path}")
    if args.path == "time" and args.motion_seeds is not None:
        inputs.check_unused(parser(), args, ("grid",), "with --motion_seeds, which makes the rows")
    if seeds is not None and args.path == "time":
        videos(args, len(seeds))
    elif seeds is not None:
        keyframes(args, seeds)


def read_grid(text: str) -> tuple[int, int]:
    """Return (columns, rows) of '3x2'.

    Raises:
        ValueError: it has another form.
    """
    parts = text.split("x")
    if len(parts) != 2 or not all(x.isascii() and x.isdecimal() and len(x) < 10 and int(x) for x in parts):
        raise ValueError(f"--grid={text}: write COLUMNSxROWS, such as 3x2")
    return int(parts[0]), int(parts[1])


def keyframes(args: argparse.Namespace, seeds: Sequence[int]) -> tuple[int, int, np.ndarray]:
    """Return (rows, columns, seeds int[cells, k]) of the grid of loops; each cell has k seeds of its own.

    Raises:
        ValueError: the grid does not have the form 3x2, or its cells do not divide the seeds.
    """
    columns, rows = read_grid(args.grid or "1x1")
    count, rest = divmod(len(seeds), columns * rows)
    if rest or not count:
        raise ValueError(f"--grid={args.grid} has {columns * rows} cells; {len(seeds)} seeds do not divide evenly")
    if args.path == "latent" and count < 2 and args.styles is not None:
        raise ValueError(f"--styles={args.styles} has one style per cell; --path=latent goes from one to the next")
    if args.path == "latent" and count < 2:
        raise ValueError(
            f"--seeds={args.seeds} is one seed per cell; --path=latent goes from seed to seed, such as --seeds=0-"
            f"{4 * columns * rows - 1}"
        )
    return rows, columns, np.asarray(seeds).reshape(-1, count)


def videos(args: argparse.Namespace, count: int) -> tuple[int, np.ndarray, np.ndarray | None]:
    """Return (columns; for each cell, which of `count` seeds, int[n]; its motion seed, int[n], or None for its own).

    Raises:
        ValueError: the grid has another number of cells, or motion seeds have another form.
    """
    if args.motion_seeds is not None:
        motion = inputs.parse_numbers("--motion_seeds", args.motion_seeds, 2**32, "seed")
        return count, np.tile(np.arange(count), len(motion)), np.repeat(motion, count)
    columns = int(np.ceil(np.sqrt(count)))
    if args.grid is not None:
        columns, rows = read_grid(args.grid)
        if columns * rows != count:
            raise ValueError(
                f"--grid={args.grid} has {columns * rows} cells; --path=time needs {count}, one for each video"
            )
    return columns, np.arange(count), None


def frames(
    model: Any, seeds: list[int], args: argparse.Namespace, ws: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames uint8[rows * h, columns * w, c]: args.frames of them; in loops, that many per keyframe.

    With --styles, `seeds` are the numbers of styles ws float32[n, l, w]; if ws is None, they are read.
    """
    from stylegan_jax.base import images

    if args.styles is not None and ws is None:
        ws = inputs.read_styles(args.styles, model.gan.spec)
    columns, cells = (times if args.path == "time" else loops)(model, seeds, args, ws)
    for pictures in cells:
        yield images.make_grid(pictures, columns) if len(pictures) > 1 else pictures[0]


def loops(
    model: Any, seeds: list[int], args: argparse.Namespace, ws: np.ndarray | None
) -> tuple[int, Iterator[np.ndarray]]:
    """Return (columns, the frames uint8[cells, h, w, c] of loops)."""
    from stylegan_jax.sampling import paths

    _, columns, own = keyframes(args, seeds)
    labels = inputs.labels(model, args) if ws is None else np.zeros((1, 0), np.float32)
    if args.path != "latent":
        inputs.check_moves(model, f"--path={args.path}")
    if len(labels) > own.shape[1]:
        raise ValueError(
            f"--class={args.classes}: {len(labels)} classes for {own.shape[1]} seeds per cell; use more seeds"
        )
    model = at_start(model, args)
    names = ("path", "space", "frames", "radius", "psi", "cutoff", "noise")
    options = {name: getattr(args, name) for name in names} | {"chunk": args.batch}
    turns = labels[np.arange(own.shape[1]) % len(labels)] if labels.shape[1] else None
    cells = [paths.loop(model, some, turns, styles=None if ws is None else ws[some], **options) for some in own]
    return columns, map(np.stack, zip(*cells, strict=True))


def at_start(model: Any, args: argparse.Namespace) -> Any:
    """Return an image model unchanged, and a video model as the model of its frames at --start, for loops.

    Raises:
        ValueError: an argument about time has no effect on an image model, or there are several motions.
    """
    if model.gan.draw_at is None:
        where = f"on arch {model.config.arch!r}, which draws images without time"
        inputs.check_unused(parser(), args, ("start", "motion_seeds"), where)
        return model
    motion = inputs.parse_numbers("--motion_seeds", args.motion_seeds or "0", 2**32, "seed")
    if len(motion) > 1:
        raise ValueError(f"--motion_seeds={args.motion_seeds}: a loop has one motion; --path=time shows several")
    return model.still(args.start, motion[0], inputs.one_label(model, args))


def times(
    model: Any, seeds: list[int], args: argparse.Namespace, ws: np.ndarray | None
) -> tuple[int, Iterator[np.ndarray]]:
    """Return (columns, the frames uint8[cells, h, w, c] of videos)."""
    columns, which, motion = videos(args, len(seeds))
    labels = inputs.labels(model, args)
    if len(labels) > len(seeds):
        raise ValueError(f"--class={args.classes}: {len(labels)} classes for {len(seeds)} seeds; use more seeds")
    cells = model.video(
        np.asarray(seeds)[which],
        args.frames,
        args.fps if model.fps else None,
        args.start,
        motion,
        speed=args.speed,
        label=labels[which % len(labels)] if labels.shape[1] else None,
        styles=None if ws is None else ws[which],
        psi=args.psi,
        cutoff=args.cutoff,
        chunk=args.batch,
    )
    return columns, cells


def write_strip(path: Path, model: Any, seeds: list[int], args: argparse.Namespace, ws: np.ndarray | None) -> None:
    """Write a PNG with a row of frames for each video."""
    from stylegan_jax.base import images

    _, cells = times(model, seeds, args, ws)
    pixels = np.stack(list(records.progress(cells, args.frames, "frame")), axis=1)
    images.save_png(path, images.make_grid(pixels.reshape(-1, *pixels.shape[2:]), args.frames))


def choose_file(args: argparse.Namespace, fps: float) -> Path:
    """Return the path of --out, which may be a .png with --path=time; errors as of `_video_file.choose`."""
    from stylegan_jax.tools import _video_file as video_file

    path = Path(args.out)
    if args.path != "time" or path.suffix.lower() != ".png":
        return video_file.choose(path, fps)
    video_file.check_folder(path)
    return path


def act(args: argparse.Namespace) -> str:
    """Make the video; return the sentence to print."""
    seeds = inputs.parse_seeds(args.seeds)
    check(args, seeds if args.styles is None else None)
    choose_file(args, FPS if args.fps is None else args.fps)
    model, ws = inputs.load(args), None
    if args.path == "time":
        check_time(model)
    elif args.styles is not None:
        inputs.check_label_unused(parser(), args, model)
    fps = args.fps or (args.path == "time" and model.fps) or FPS
    out = choose_file(args, fps)
    if args.styles is not None:
        ws = inputs.read_styles(args.styles, model.gan.spec)
        seeds = list(range(len(ws)))
    told = write(out, model, seeds, args, ws, fps)
    runner.write_record(out.with_name(out.name + ".json"), runner.record(args, model))
    return f"{told} in {out}"


def check_time(model: Any) -> None:
    """Raise ValueError unless the model draws videos."""
    from stylegan_jax.sampling import videos as library

    try:
        library.check_time(model)
    except ValueError as error:
        raise ValueError(f"--path=time: {error}") from None


def write(out: Path, model: Any, seeds: list[int], args: argparse.Namespace, ws: np.ndarray | None, fps: float) -> str:
    """Write the file; return a description of its content."""
    from stylegan_jax.sampling import videos as library
    from stylegan_jax.tools import _video_file as video_file

    if out.suffix.lower() == ".png":
        if args.frames * len(videos(args, len(seeds))[1]) > MAX_STRIP:
            raise ValueError(
                f"--out={out}: a strip has at most {MAX_STRIP} frames in all; lower --frames, or write .mp4"
            )
        write_strip(out, model, seeds, args, ws)
        count, told = args.frames, ""
    else:
        total = args.frames * (1 if args.path == "time" else keyframes(args, seeds)[2].shape[1])
        count = video_file.write(out, iter(records.progress(frames(model, seeds, args, ws), total, "frame")), fps)
        told = f", {count / fps:.1f} s"
    if args.path == "time":
        step = library.time_step(model, args.frames, args.fps if model.fps else None, args.start, args.speed)
        told += f", times {args.start:g} to {args.start + (args.frames - 1) * step:g} in steps of {step:g}"
    return f"{count} frames{told},"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
