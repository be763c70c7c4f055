"""Mix styles: `python -m stylegan_jax.tools.style_mix --model=DIR --rows=0-3 --columns=8-12 --layers=coarse --out=DIR`.

Each picture of the grid has the styles of its row, except in the chosen slots, which are those of its column (StyleGAN,
section 3.1 and figure 3). The first row and the first column show the sources.
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
from stylegan_jax.tools import _inputs as inputs, _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.style_mix", description=head)
    inputs.add_arguments(p)
    inputs.add_still(p)
    inputs.add_output(p, "folder for grid.png, the PNGs and style_mix.json")
    p.add_argument("--styles", metavar="FILES", help=f"{inputs.STYLES}; --rows and --columns then count them from 0")
    p.add_argument("--rows", default="0-3", metavar="SEEDS", help="seeds of the other slots (default: %(default)s)")
    p.add_argument("--columns", default="8-12", metavar="SEEDS", help="seeds of the --layers (default: %(default)s)")
    p.add_argument(
        "--layers", default="coarse", help="coarse, middle, fine, all, or slots such as 0-3,7 (default: %(default)s)"
    )
    return p


def draw(model: Any, rows: np.ndarray, columns: np.ndarray, layers: Sequence[int], chunk: int) -> np.ndarray:
    """Return uint8[r + 1, c + 1, h, w, c]: sources in the first row and column, white in the corner."""
    from stylegan_jax.base import images
    from stylegan_jax.sampling.styles import mix

    mixed = mix(rows, columns, layers)
    ws = np.concatenate([rows, columns, mixed.reshape(-1, *mixed.shape[2:])])
    chunk = min(chunk, len(ws))
    total = -(-len(ws) // chunk)
    pictures = [images.to_pixels(x) for x in records.progress(model.stream(ws, chunk=chunk), total, "batch")]
    pixels, r, c = np.concatenate(pictures), len(rows), len(columns)
    grid = np.full((r + 1, c + 1, *pixels.shape[1:]), 255, np.uint8)
    grid[1:, 0], grid[0, 1:] = pixels[:r], pixels[r : r + c]
    grid[1:, 1:] = pixels[r + c :].reshape(r, c, *pixels.shape[1:])
    return grid


def sources(model: Any, args: argparse.Namespace) -> tuple[list[list[int]], list[np.ndarray]]:
    """Return the numbers of rows and columns, and their styles float32[n, l, w], from seeds or --styles."""
    given = None
    if args.styles is not None:
        inputs.check_unused(parser(), args, ("psi", "cutoff"), "with --styles")
        inputs.check_label_unused(parser(), args, model)
        given = inputs.read_styles(args.styles, model.gan.spec)
    most, what = (2**32, "seed") if given is None else (len(given), "number of a style")
    flags = (("--rows", args.rows), ("--columns", args.columns))
    numbers = [inputs.parse_numbers(flag, text, most, what) for flag, text in flags]
    if given is not None:
        return numbers, [given[some] for some in numbers]
    label, options = inputs.one_label(model, args), {"psi": args.psi, "cutoff": args.cutoff}
    return numbers, [model.map(some, label, **options, chunk=inputs.chunk(args, len(some))) for some in numbers]


def act(args: argparse.Namespace) -> str:
    """Draw; return the sentence to print."""
    from stylegan_jax.base import images
    from stylegan_jax.sampling.styles import check_slots

    model = inputs.load(args)
    check_slots(model, "style mixing")
    layers = inputs.parse_layers(args.layers, model)
    seeds, (rows, columns) = sources(model, args)
    model = inputs.as_images(model, args)
    out = Path(args.out)
    path = runner.claim(out, "style_mix.json", args)
    grid = draw(model, rows, columns, layers, args.batch)
    for i, row in enumerate(seeds[0]):
        for j, column in enumerate(seeds[1]):
            images.save_png(out / f"{row:04d}-{column:04d}.png", grid[i + 1, j + 1])
    images.save_png(out / "grid.png", images.make_grid(grid.reshape(-1, *grid.shape[2:]), grid.shape[1]))
    runner.write_record(path, runner.record(args, model, layers=layers))
    return f"{rows.shape[0]} x {columns.shape[0]} mixtures of slots {layers} and grid.png in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
