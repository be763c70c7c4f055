"""Show what noise changes: `python -m stylegan_jax.tools.noise --model=DIR --seeds=0-3 --count=64 --out=DIR`.

It draws one row per seed: the picture with constant noise, without noise, with some random draws, and the standard
deviation of each pixel over all draws, in grey, white where it is largest (StyleGAN, section 3.2, figures 4 and 5).
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
    p = Parser(prog="python -m stylegan_jax.tools.noise", description=head)
    inputs.add_arguments(p)
    inputs.add_output(p, "folder for grid.png and noise.json")
    p.add_argument("--seeds", default="0-3", help="seeds, such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--count", type=int, default=64, help="random draws per seed (default: %(default)s)")
    p.add_argument("--show", type=int, default=3, help="number of draws to show (default: %(default)s)")
    return p


def deviation(draws: np.ndarray) -> np.ndarray:
    """Return float32[h, w]: the standard deviation over images float[n, h, w, c], as root mean square over c."""
    return np.sqrt(np.var(draws.astype(np.float64), axis=0).mean(axis=-1)).astype(np.float32)


def row(model: Any, ws: np.ndarray, count: int, show: int, chunk: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return ([constant, none, random draws], each float[h, w, c]; deviation float32[h, w]) of one style [1, l, w]."""
    fixed = [model.synthesize(ws, noise=kind, chunk=chunk)[0] for kind in ("const", "none")]
    draws = model.synthesize(np.repeat(ws, count, axis=0), noise="random", seeds=range(count), chunk=chunk)
    return [*fixed, *draws[:show]], deviation(draws)


def act(args: argparse.Namespace) -> str:
    """Draw; return the sentence to print."""
    from stylegan_jax.base import images

    seeds = inputs.parse_seeds(args.seeds)
    if not 0 <= args.show <= args.count or args.count < 2:
        raise ValueError(f"--count={args.count} --show={args.show}: count is at least 2, show from 0 to count")
    model = inputs.load(args)
    if not model.has_noise:
        raise ValueError(
            f"arch {model.config.arch!r} of {args.model} has no noise inputs, so there is nothing to compare"
        )
    label, chunk = inputs.one_label(model, args), inputs.chunk(args, len(seeds))
    ws = model.map(seeds, label, psi=args.psi, cutoff=args.cutoff, chunk=chunk)
    path = runner.claim(Path(args.out), "noise.json", args)
    chunk = inputs.chunk(args, args.count)
    rows = records.progress((row(model, w[None], args.count, args.show, chunk) for w in ws), len(ws), "seed")
    shown, maps = zip(*rows, strict=True)
    largest = max(float(np.max(maps)), 1e-12)
    cells = []
    for pictures, std in zip(shown, maps, strict=True):
        grey = np.repeat((std / largest * 255).astype(np.uint8)[..., None], pictures[0].shape[-1], axis=-1)
        grey[..., 3:] = 255  # opaque
        cells += [*images.to_pixels(np.stack(pictures)), grey]
    images.save_png(Path(args.out) / "grid.png", images.make_grid(np.stack(cells), args.show + 3))
    values = {str(s): {"mean": float(m.mean()), "max": float(m.max())} for s, m in zip(seeds, maps, strict=True)}
    runner.write_record(path, runner.record(args, model, deviation=values))
    return f"deviation up to {largest:.4f} (images in [-1, 1]); grid.png in {args.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
