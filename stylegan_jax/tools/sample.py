"""Draw images: `python -m stylegan_jax.tools.sample --model=DIR --seeds=0-15 --psi=0.7 --out=DIR`.

An image depends only on its seed (and label, psi, noise), not on the other seeds, the batch or the devices. Latents are
`numpy.random.RandomState(seed).randn(1, z)`, as in the official tools, so official weights produce the same images.
With several classes, every seed is drawn in each class, and `--by_class` draws a row per class. `--out=FILE.zip` writes
a data set in the training layout, with labels.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.base.flags import Parser
from stylegan_jax.runtime import records
from stylegan_jax.tools import _inputs as inputs, _runner as runner

MAX_GRID = 4096
"""Largest number of images in a grid."""


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.sample", description=(__doc__ or "").split("\n")[0])
    inputs.add_arguments(p)
    inputs.add_still(p, "each seed's own; 0 with --styles")
    inputs.add_output(p, "folder for the PNGs, grid.png and sample.json, or a data set FILE.zip")
    p.add_argument("--seeds", default="0-15", help="seeds, such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--styles", metavar="FILES", help=inputs.STYLES)
    p.add_argument("--noise", choices=("const", "random", "none"), default="const", help="noise (default: const)")
    p.add_argument("--translate", default=None, metavar="X,Y", help="move right by X widths and down by Y heights")
    p.add_argument("--rotate", type=float, default=0.0, metavar="DEG", help="rotate counter-clockwise about the centre")
    p.add_argument("--columns", type=int, default=0, help="columns of the grid (default: about square)")
    p.add_argument(
        "--by_class", action="store_true", default=None, help="sort by class: the grid has a row of seeds per class"
    )
    p.add_argument(
        "--save_w", action="store_true", help="also write the styles, styles.npz, for edit and video --styles"
    )
    p.add_argument(
        "--files", choices=("both", "images", "grid"), default="both", help="what to write to a folder (default: both)"
    )
    return p


def parse_translation(text: str | None) -> tuple[float, float]:
    """Return (x, y) of 'X,Y'; (0, 0) for None.

    Raises:
        ValueError: the text is not two finite numbers.
    """
    try:
        x, y = inputs.parse_floats("--translate", text or "0,0")
        return x, y
    except ValueError:
        pass
    raise ValueError(f"--translate={text}: write two numbers, such as --translate=0.1,-0.25")


def move_canvas(model: Any, args: argparse.Namespace) -> Any:
    """Return the model with the transform of the arguments, or the model unchanged.

    Raises:
        ValueError: a number is not finite, or the architecture cannot transform its output.
    """
    from stylegan_jax.sampling.paths import make_transform

    if args.translate is None and not args.rotate:
        return model
    x, y = parse_translation(args.translate)
    if not np.isfinite(args.rotate):
        raise ValueError(f"--rotate={args.rotate}: write a number of degrees, such as --rotate=30")
    height, width, _ = model.gan.spec.image_shape
    inputs.check_moves(model, "--translate, --rotate")
    return model.moved(make_transform(x, y, args.rotate, width / height))


def pair(seeds: Sequence[int], labels: np.ndarray, by_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (seeds int[n], numbers of labels int[n]) of all pictures, in order: every seed with each label."""
    own, which = np.meshgrid(seeds, np.arange(len(labels)), indexing="xy" if by_class else "ij")
    return own.ravel(), which.ravel()


def draw(
    model: Any, seeds: np.ndarray, which: np.ndarray, labels: np.ndarray, args: argparse.Namespace
) -> Iterator[np.ndarray]:
    """Yield uint8[h, w, c] of each seed with its label, number `which` of labels float32[m, k]."""
    options = {"psi": args.psi, "cutoff": args.cutoff, "noise": args.noise}
    chunk = inputs.chunk(args, len(seeds))
    for first in range(0, len(seeds), chunk):
        part = slice(first, first + chunk)
        label = labels[which[part]] if labels.shape[1] else None
        yield from model.sample(seeds[part], label=label, **options, chunk=chunk)


def draw_styles(model: Any, ws: np.ndarray, args: argparse.Namespace) -> Iterator[np.ndarray]:
    """Yield uint8[h, w, c] for every style float32[n, l, w] in turn."""
    from stylegan_jax.base import images

    for part in model.stream(ws, noise=args.noise, chunk=inputs.chunk(args, len(ws))):
        yield from images.to_pixels(part)


def to_folder(
    args: argparse.Namespace, model: Any, pictures: Iterator[np.ndarray], names: list[str], columns: int
) -> str:
    """Write PNGs and a grid with `columns` columns (0: about square); return the sentence to print."""
    from stylegan_jax.base import images

    out, kept = Path(args.out), []
    path = runner.claim(out, "sample.json", args)
    has_grid = args.files != "images" and len(names) <= MAX_GRID
    for name, picture in zip(names, records.progress(pictures, len(names), "image"), strict=True):
        if args.files != "grid":
            images.save_png(out / name, picture)
        if has_grid:
            kept.append(picture)
    if has_grid:
        columns = min(columns, len(kept)) or int(np.ceil(np.sqrt(len(kept))))
        images.save_png(out / "grid.png", images.make_grid(np.stack(kept), columns))
    runner.write_record(path, runner.record(args, model))
    return f"{len(names)} images{' and grid.png' * has_grid} in {out}"


def save_styles(path: Path, model: Any, seeds: np.ndarray, label: np.ndarray | None, args: argparse.Namespace) -> None:
    """Write the styles of the pictures, in their order: w float32[n, l, w], seeds int64[n], label float32[n, k]."""
    ws = model.map(seeds, label, psi=args.psi, cutoff=args.cutoff, chunk=args.batch)
    arrays.write_npz(path, w=ws, seeds=seeds, label=np.zeros((len(ws), 0), np.float32) if label is None else label)


def to_zip(
    args: argparse.Namespace, model: Any, pictures: Iterator[np.ndarray], labels: np.ndarray, which: np.ndarray
) -> str:
    """Write a data set; return the sentence to print."""
    from PIL import Image

    from stylegan_jax.data.prepare.write import check_dest, member_name, open_writer

    check_dest(args.out, "", args.overwrite)
    entries: list[list[Any]] = []
    as_class = args.classes and model.label_kind in ("classes", "")
    with open_writer(args.out) as writer:
        for i, picture in enumerate(records.progress(pictures, len(which), "image")):
            data = io.BytesIO()
            Image.fromarray(picture[:, :, 0] if picture.shape[-1] == 1 else picture).save(data, format="PNG")
            writer.add(member_name(i), data.getvalue())
            label = labels[which[i]]
            entries.append([member_name(i), int(label.argmax()) if as_class else [float(x) for x in label]])
        tree = {"labels": entries if labels.shape[1] else None}
        writer.add("dataset.json", json.dumps(tree).encode())
        writer.add("sample.json", json.dumps(runner.record(args, model), indent=2, default=str).encode())
        writer.finish()
    return f"{len(which)} images in {args.out}"


def act(args: argparse.Namespace) -> str:
    """Draw; return the sentence to print."""
    seeds = inputs.parse_seeds(args.seeds)
    if args.columns < 0:
        raise ValueError(f"--columns={args.columns} must be at least 1, or 0 for about square")
    if args.styles is not None:
        unused = ("seeds", "psi", "cutoff", "centroids", "save_w", "by_class")
        inputs.check_unused(parser(), args, unused, "with --styles")
    model = inputs.load(args)
    if args.styles is not None:
        inputs.check_label_unused(parser(), args, model)
    model = move_canvas(inputs.as_images(model, args, own=args.styles is None), args)
    if args.styles is not None:
        ws, labels = inputs.read_styles(args.styles, model.gan.spec), np.zeros((1, 0), np.float32)
        pictures, own, which = draw_styles(model, ws, args), np.arange(len(ws)), np.zeros(len(ws), int)
    else:
        labels = inputs.labels(model, args)
        own, which = pair(seeds, labels, bool(args.by_class))
        pictures = draw(model, own, which, labels, args)
    if args.out.lower().endswith(".zip"):
        if args.save_w:
            raise ValueError(f"--save_w: {args.out} is a data set of pictures; pass a folder as --out")
        return to_zip(args, model, pictures, labels, which)
    classes = [f"_class{label.argmax():03d}" if len(labels) > 1 else "" for label in labels]
    names = [f"seed{seed:04d}{classes[k]}.png" for seed, k in zip(own, which, strict=True)]
    if args.styles is not None:
        names = [f"style{i:04d}.png" for i in own]
    columns = args.columns or (len(seeds) if args.by_class else 0)
    done = to_folder(args, model, pictures, names, columns)
    if args.save_w:
        label = labels[which] if labels.shape[1] else None
        save_styles(Path(args.out) / "styles.npz", model, own, label, args)
    return done + "; styles.npz" * args.save_w


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
