"""Draw learning curves: `python -m stylegan_jax.tools.curves --model=RUN --out=curves.png`.

The curves are metrics, losses, scores, and p and r_t of adaptive augmentation, over the images shown. Several runs are
drawn into the same panels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stylegan_jax.base import bundled
from stylegan_jax.base.files import write_whole
from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser(prog="python -m stylegan_jax.tools.curves", description=head, epilog=rest)
    p.add_argument(
        "--model",
        action="append",
        required=True,
        help="workdir of a run, demo, or a model folder with the records of its run; may be repeated",
    )
    p.add_argument("--names", default="", metavar="A,B,…", help="names of the runs (default: those of the folders)")
    p.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="FILE",
        help="file of `metrics --out` with metrics of a run's checkpoints; one for each --model",
    )
    p.add_argument("--terms", default="", metavar="X,Y,…", help="a panel for each (default: what the runs report)")
    p.add_argument("--out", required=True, help="file to write: .png, .svg or .pdf; an existing one is overwritten")
    return p


def act(args: argparse.Namespace) -> str:
    """Draw; return the sentence to print."""
    from stylegan_jax.sampling import curves

    out, names = Path(args.out), args.names.split(",") if args.names else [Path(path).name for path in args.model]
    if len(names) != len(args.model) or len(set(names)) != len(names):
        raise ValueError(f"--names: pass {len(args.model)} different names, one for each --model, with commas")
    if args.metrics and len(args.metrics) != len(args.model):
        raise ValueError(f"--metrics was passed {len(args.metrics)} times; pass one file for each --model, or none")
    for file in args.metrics:
        if not Path(file).is_file():
            raise ValueError(f"--metrics={file} does not exist; `metrics --out=FILE` writes such files")
    files = [Path(file) for file in args.metrics] or [None] * len(args.model)
    folders = [Path(bundled.find_model(path)).expanduser() for path in args.model]
    runs = {name: curves.read(folder, file) for name, folder, file in zip(names, folders, files, strict=True)}
    terms = args.terms.split(",") if args.terms else ()
    picture = curves.draw(runs, terms, out.suffix.removeprefix(".").lower())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, picture)
    return f"curves of {', '.join(names)} in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
