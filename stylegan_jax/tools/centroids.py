"""Find modes of the styles: `python -m stylegan_jax.tools.centroids --model=DIR --count=64 --out=centroids.npz`.

With `--centroids=FILE`, drawing tools truncate towards the nearest of them instead of the mean style (StyleGAN-XL).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stylegan_jax.base import arrays
from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _inputs as inputs, _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.centroids", description=(__doc__ or "").split("\n")[0])
    inputs.add_model(p)
    p.add_argument("--out", required=True, metavar="FILE", help="FILE.npz: centroids float32[count, w]")
    p.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    p.add_argument("--count", type=int, default=64, help="number of centroids; published: 10000 (default: %(default)s)")
    p.add_argument("--samples", type=int, default=10_000, help="number of styles; published: 600000 (default: 10000)")
    p.add_argument(
        "--class",
        default="all",
        dest="classes",
        metavar="K,…",
        help="numbers or names (default: all)",
    )
    p.add_argument("--seed", type=int, default=0, help="of latents, classes and k-means (default: 0)")
    p.add_argument("--iterations", type=int, default=30, help="iterations of k-means (default: %(default)s)")
    p.add_argument("--batch", type=int, default=64, help="latents per call (default: %(default)s)")
    return p


def act(args: argparse.Namespace) -> str:
    """Find and write; return the sentence to print."""
    from stylegan_jax.sampling import centroids
    from stylegan_jax.sampling.load import load_model

    out = Path(args.out)
    if out.suffix != ".npz" or (out.exists() and not args.overwrite):
        raise ValueError(f"--out={args.out}: pass the name of a new .npz, or --overwrite to replace an existing one")
    if not 0 <= args.seed < 2**32 or args.batch < 1:
        raise ValueError(f"--seed={args.seed} --batch={args.batch}: a seed is 0 to 2^32 - 1, a batch at least 1")
    model = load_model(args.model, args.step)
    given = argparse.Namespace(classes=args.classes, label=None)
    chosen = () if args.classes == "all" else inputs.labels(model, given).argmax(axis=1).tolist()
    options = {"classes": chosen, "seed": args.seed, "iterations": args.iterations, "chunk": args.batch}
    found = centroids.find(model, args.count, args.samples, **options)
    out.parent.mkdir(parents=True, exist_ok=True)
    arrays.write_npz(out, centroids=found)
    runner.write_record(out.with_name(out.name + ".json"), runner.record(args, model))
    return f"{len(found)} centroids of {args.samples} styles in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
