"""Show what truncation does: `python -m stylegan_jax.tools.truncation --model=DIR --seeds=0-3 --psis=-1,0,0.5,1
--out=DIR`.

The grid has a row per seed and a column per psi (StyleGAN, appendix B; negative psi draws the opposite of an image,
figure 8).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.runtime import records
from stylegan_jax.tools import _inputs as inputs, _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.truncation", description=head)
    inputs.add_arguments(p, psi=False)
    inputs.add_still(p)
    inputs.add_output(p, "folder for grid.png and truncation.json")
    p.add_argument("--seeds", default="0-3", help="seeds, such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--psis", default="-1,-0.5,0,0.5,0.7,1", help="values of psi, with commas (default: %(default)s)")
    return p


def act(args: argparse.Namespace) -> str:
    """Draw; return the sentence to print."""
    from stylegan_jax.base import images

    seeds, psis = inputs.parse_seeds(args.seeds), inputs.parse_floats("--psis", args.psis)
    model = inputs.as_images(inputs.load(args), args)
    label = inputs.one_label(model, args)
    path = runner.claim(Path(args.out), "truncation.json", args)
    chunk = inputs.chunk(args, len(seeds))
    ws = np.stack([model.map(seeds, label, psi=psi, cutoff=args.cutoff, chunk=chunk) for psi in psis], axis=1)
    ws = ws.reshape(-1, *ws.shape[2:])
    chunk = inputs.chunk(args, len(ws))
    chunks = records.progress(model.stream(ws, chunk=chunk), -(-len(ws) // chunk), "batch")
    pixels = np.concatenate([images.to_pixels(x) for x in chunks])
    images.save_png(Path(args.out) / "grid.png", images.make_grid(pixels, len(psis)))
    runner.write_record(path, runner.record(args, model))
    return f"{len(seeds)} seeds x {len(psis)} psis: grid.png in {args.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
